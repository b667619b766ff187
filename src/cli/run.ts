/** `impgem run [FILE]`: the pipeline of this checkout, here and now, with no server and no Redis. */
import { relative } from 'node:path';
import { Command, Option } from 'commander';
import { readSettings } from '../config/read-settings.ts';
import { parseDuration } from '../config/units.ts';
import { InputError, messageOf } from '../errors.ts';
import { type Diagnostic, hasErrors } from '../pipeline/diagnostic.ts';
import type { LoadedPipeline } from '../pipeline/find-pipelines.ts';
import { type PlanInput, planPipeline } from '../pipeline/plan-pipeline.ts';
import { renderDiagnostics } from '../pipeline/render-diagnostics.ts';
import type { EventKind } from '../runs/event.ts';
import type { Plan } from '../runs/plan.ts';
import type { State } from '../runs/run.ts';
import { EXIT } from './exit-codes.ts';
import { hasColor } from './has-color.ts';
import { openCheckout } from './local/checkout.ts';
import { EVENT_KINDS } from '../pipeline/event-kinds.ts';
import { localEvent } from './local/local-event.ts';
import { openLocalRuns, type FinishedRun } from './local/run-checkout.ts';
import { createScreen, type Screen } from './local/screen.ts';
import { readSecretsFile } from './local/secrets-file.ts';
import { checkJobs, withEnvironment, withJobs } from './local/narrow-plan.ts';
import { readPipelines } from './read-pipelines.ts';
import { untilSignal } from './until-signal.ts';

interface RunOptions {
  event: EventKind;
  branch?: string;
  tag?: string;
  changed?: string[];
  job?: string[];
  executor?: string;
  secretsFile?: string;
  env?: string[];
  json?: boolean;
}

export function runCommand(): Command {
  return new Command('run')
    .description('run the pipeline of this checkout here, uncommitted changes included')
    .argument('[file]', 'pipeline file; default: .impgem.yml, .impgem.yaml or every file of .impgem/')
    .addOption(new Option('--event <kind>', 'event to run for').choices(EVENT_KINDS).default('push'))
    .option('--branch <name>', 'branch of the event; default: the one checked out (pull_request: its target)')
    .option('--tag <name>', 'tag, for --event tag')
    .option('--changed <path...>', 'changed files, for `when: paths`; default: as if every file had changed')
    .option('--job <id...>', 'only these jobs and what they need')
    .addOption(new Option('--executor <name>', 'what runs steps').choices(['auto', 'docker', 'sandbox']))
    .option('--secrets-file <path>', 'file of lines NAME=value; - is stdin')
    .option('--env <NAME=value...>', 'further variables for every step')
    .option('--json', 'the runs as JSON on stdout; what happens goes to stderr')
    .addHelpText(
      'after',
      `
Examples:
  impgem run
  impgem run --job test --executor sandbox
  impgem run .impgem/release.yml --event tag --tag v1.2.0 --secrets-file .secrets

Exit code: 0 passed, 1 failed, 2 cancelled, 3 infrastructure error, 64 usage.
Artifacts and logs stay in .impgem/local/ of the checkout.`,
    )
    .action(async (file: string | undefined, options: RunOptions) => {
      const signal = untilSignal(() => process.exit(130));
      try {
        process.exitCode = await runHere(file, options, signal);
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
        process.stderr.write(`impgem run: ${messageOf(error)}\n`);
        process.exitCode = EXIT.usage;
      }
    });
}

async function runHere(file: string | undefined, options: RunOptions, signal: AbortSignal): Promise<number> {
  const checkout = await openCheckout(process.cwd());
  const env = options.executor === undefined ? {} : { IMPGEM_EXECUTOR: options.executor };
  const settings = readSettings({ ...process.env, ...env });
  const secrets = options.secretsFile === undefined ? new Map<string, string>() : readSecretsFile(options.secretsFile);
  const event = localEvent(
    checkout,
    { ...options, forges: { github: hostOf(settings.IMPGEM_GITHUB_URL), gitea: hostOf(settings.IMPGEM_GITEA_URL) } },
    new Date().toISOString(),
  );
  const loaded = await readPipelines(file === undefined ? [] : [file]);
  const screen = createScreen(options.json === true ? process.stderr : process.stdout);
  const jobTimeoutMs = parseDuration(settings.IMPGEM_JOB_TIMEOUT) ?? 3_600_000;
  const { plans, diagnostics } = planAll(loaded, {
    event,
    defaults: { jobTimeoutMs },
    ...(options.changed === undefined ? {} : { changedPaths: options.changed }),
  });
  const print = (runs: object[]): void => {
    if (options.json === true) process.stdout.write(`${JSON.stringify({ runs, diagnostics }, null, 2)}\n`);
  };
  if (hasErrors(diagnostics)) {
    print([]);
    return EXIT.failed;
  }
  checkJobs(plans, options.job ?? []);
  const chosen = plans
    .map((plan) => withEnvironment(plan, options.env ?? []))
    .map((plan) => (options.job === undefined ? plan : withJobs(plan, options.job)))
    .filter((plan) => options.job === undefined || plan.jobs.length > 0);

  const cancel = cancelledBy(signal);
  const runs = await openLocalRuns({ checkout, settings, event, secrets, cancel });
  const finished: FinishedRun[] = [];
  try {
    for (const [index, plan] of chosen.entries()) {
      const done = await runs.run(plan, screen, index === chosen.length - 1);
      await sayEnd(screen, done);
      finished.push(done);
    }
  } finally {
    for (const stays of await runs.close()) process.stderr.write(`impgem run: could not clean up: ${stays}\n`);
  }
  print(finished.map(shownAsJson));
  return exitCodeOf(finished.map(({ record }) => record.state));
}

/** Ctrl-C, or nobody reads what is printed any more (`impgem run | head`). */
function cancelledBy(signal: AbortSignal): AbortSignal {
  const controller = new AbortController();
  const onAbort = (): void => {
    process.stderr.write('\nimpgem run: cancelling; once more to leave at once\n');
    controller.abort('cancelled by Ctrl-C');
  };
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', () => controller.abort('the output was closed'));
  return controller.signal;
}

function hostOf(address: string | undefined): string {
  return address === undefined ? '' : new URL(address).hostname;
}

/** Prints what is wrong, and plans the rest. */
function planAll(loaded: LoadedPipeline[], input: PlanInput): { plans: Plan[]; diagnostics: Diagnostic[] } {
  const plans: Plan[] = [];
  const diagnostics: Diagnostic[] = [];
  for (const { pipeline, sources, diagnostics: found } of loaded) {
    const result = pipeline && planPipeline(pipeline, input);
    const all = [...found, ...(result?.diagnostics ?? [])];
    if (all.length > 0)
      process.stderr.write(`${renderDiagnostics(all, sources, { color: hasColor(process.stderr) })}\n`);
    diagnostics.push(...all);
    if (result?.plan) plans.push(result.plan);
  }
  return { plans, diagnostics };
}

const END_COLOURS = { succeeded: 'green', skipped: 'dim', cancelled: 'yellow' } as const;

async function sayEnd(screen: Screen, { record, artifacts, logs }: FinishedRun): Promise<void> {
  const colour = Object.entries(END_COLOURS).find(([state]) => state === record.state)?.[1] ?? 'red';
  const name = record.pipeline === undefined ? 'run' : `run ${record.pipeline}`;
  const reason = record.reason === undefined ? '' : `: ${record.reason}`;
  const lines = [`${name} ${screen.paint(record.state, colour)}${reason}`];
  const here = (path: string): string => relative(process.cwd(), path);
  if (artifacts !== undefined) lines.push(`artifacts: ${here(artifacts)}`);
  if (record.jobs.some((job) => job.startedAt !== undefined)) lines.push(`logs: ${here(logs)}`);
  await screen.lines(lines);
}

function shownAsJson({ record, artifacts, logs }: FinishedRun): object {
  const { version: _, source: __, control: ___, ...run } = record;
  return { ...run, artifacts, logs };
}

/** The worst of all: cancelled before infrastructure before failed. */
function exitCodeOf(states: State[]): number {
  if (states.includes('cancelled')) return EXIT.cancelled;
  if (states.includes('errored')) return EXIT.infrastructure;
  return states.includes('failed') ? EXIT.failed : EXIT.passed;
}
