/** `impgem plan [FILE]`: what would run for an event, and why the rest would not. */
import { Command, Option } from 'commander';
import { InputError } from '../errors.ts';
import { hasErrors, showControls } from '../pipeline/diagnostic.ts';
import { planPipeline } from '../pipeline/plan-pipeline.ts';
import { renderDiagnostics } from '../pipeline/render-diagnostics.ts';
import type { EventKind, PipelineEvent } from '../runs/event.ts';
import type { Plan } from '../runs/plan.ts';
import { EXIT } from './exit-codes.ts';
import { hasColor } from './has-color.ts';
import { forecastJobs, forecastStep, type Paint, renderPlan } from './plan-tree.ts';
import { readPipelines } from './read-pipelines.ts';

interface PlanOptions {
  event: EventKind;
  branch: string;
  source: string;
  tag?: string;
  cron?: string;
  changed?: string[];
  repository: string;
  message: string;
  author: string;
  json?: boolean;
}

const KINDS: EventKind[] = ['push', 'tag', 'pull_request', 'cron', 'manual', 'api'];
const JOB_TIMEOUT_MS = 3_600_000;
const CODES = { green: 32, yellow: 33, dim: 2 };

export function planCommand(): Command {
  return new Command('plan')
    .description('say what would run for an event, and why the rest would not')
    .argument('[file]', 'pipeline file; default: .impgem.yml, .impgem.yaml or every file of .impgem/')
    .addOption(new Option('--event <kind>', 'what happened').choices(KINDS).default('push'))
    .option('--branch <name>', 'branch that was pushed; of a pull request the one it wants to change', 'main')
    .option('--source <name>', 'branch that a pull request comes from', 'topic')
    .option('--tag <name>', 'tag, for --event tag')
    .option('--cron <name>', 'cron entry, for --event cron')
    .option('--changed <path...>', 'changed files; default: as if every file had changed')
    .option('--repository <name>', 'forge/owner/name', 'gitea/owner/name')
    .option('--message <text>', 'commit message', '')
    .option('--author <name>', 'author of the commit', '')
    .option('--json', 'the plans as JSON')
    .addHelpText(
      'after',
      `
Examples:
  impgem plan --event push --branch main --changed src/a.ts docs/b.md
  impgem plan .impgem/release.yml --event tag --tag v1.2.0
  impgem plan --event pull_request --branch main --json | jq '.plans[].jobs[].id'

Exit code: 0 there is a plan, 1 errors in the pipeline, 64 usage.`,
    )
    .action(async (file: string | undefined, options: PlanOptions) => {
      try {
        process.exitCode = await plan(file, options);
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
        process.stderr.write(`impgem plan: ${error.message}\n`);
        process.exitCode = EXIT.usage;
      }
    });
}

async function plan(file: string | undefined, options: PlanOptions): Promise<number> {
  const event = eventOf(options);
  const loaded = await readPipelines(file === undefined ? [] : [file]);
  const plans: Plan[] = [];
  let exit: number = EXIT.passed;
  for (const { pipeline, diagnostics, sources } of loaded) {
    const planned = pipeline && planPipeline(pipeline, inputOf(event, options));
    const all = [...diagnostics, ...(planned?.diagnostics ?? [])];
    if (all.length > 0)
      process.stderr.write(`${renderDiagnostics(all, sources, { color: hasColor(process.stderr) })}\n`);
    if (hasErrors(all)) exit = EXIT.failed;
    if (planned?.plan) plans.push(planned.plan);
  }
  process.stdout.write(
    options.json ? asJson(plans) : plans.map((one) => renderPlan(one, describe(event), paint())).join('\n'),
  );
  return exit;
}

function inputOf(event: PipelineEvent, { changed }: PlanOptions): Parameters<typeof planPipeline>[1] {
  return {
    event,
    ...(changed === undefined ? {} : { changedPaths: changed }),
    defaults: { jobTimeoutMs: JOB_TIMEOUT_MS },
  };
}

/** Throws InputError `tag-needed`. */
function eventOf({ event: kind, branch, source, tag, cron, repository, message, author }: PlanOptions): PipelineEvent {
  const base = { kind, repository, message, author, receivedAt: new Date().toISOString() };
  if (kind === 'tag') {
    if (tag === undefined) throw new InputError('tag-needed', 'A tag event needs its tag: --tag v1.0.0');
    return { ...base, ref: `refs/tags/${tag}`, tag };
  }
  if (kind !== 'pull_request')
    return { ...base, ref: `refs/heads/${branch}`, branch, ...(cron === undefined ? {} : { cron }) };
  const pullRequest = {
    number: 1,
    title: message,
    action: 'opened',
    sourceBranch: source,
    targetBranch: branch,
    fork: false,
  };
  return { ...base, ref: 'refs/pull/1/head', branch: source, pullRequest };
}

function describe(event: PipelineEvent): string {
  const target = event.pullRequest?.targetBranch ?? event.tag ?? event.branch ?? '';
  return showControls(`${event.kind} ${target}`);
}

function paint(): Paint {
  if (!hasColor(process.stdout)) return (text) => text;
  return (text, colour) => `\u001B[${CODES[colour]}m${text}\u001B[0m`;
}

/** Plans with what is expected of each job and step. */
function asJson(plans: readonly Plan[]): string {
  const shown = plans.map((one) => {
    const forecasts = forecastJobs(one);
    const jobs = one.jobs.map((job) => ({
      ...job,
      forecast: forecasts.get(job.id),
      steps: job.steps.map((step) => ({ ...step, forecast: forecastStep(step) })),
    }));
    return { ...one, jobs };
  });
  return `${JSON.stringify({ plans: shown }, null, 2)}\n`;
}
