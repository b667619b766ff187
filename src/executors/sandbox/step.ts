/** Runs one script in a sandbox of its own with its limits, and reads what it left. */
import { closeSync, mkdtempSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { InfrastructureError } from '../../errors.ts';
import type { Limits } from '../../runs/plan.ts';
import type { Exit, JobContext, Output, Task } from '../executor.ts';
import { capLimits } from '../limits.ts';
import { environmentOf, HANDOVER_FILES, readHandover, taskCommand } from '../shell.ts';
import type { SandboxHost } from './host.ts';
import type { JobNetwork } from './network.ts';
import { removeTree } from '../remove-tree.ts';
import { composeRoot } from './root.ts';
import { runSandbox, SCRIPT_PATH, type RunOptions } from './run.ts';

/** Beginning of the output that is kept to explain a sandbox that did not start. */
const EXCERPT = 500;

export type StepTask = Pick<
  Task,
  'id' | 'script' | 'shell' | 'env' | 'path' | 'workingDirectory' | 'network' | 'limits'
>;

export interface StepPlace {
  host: SandboxHost;
  job: JobContext;
  /** Own hosts file, once the job has services. */
  hosts: string | undefined;
  /** The job's own; undefined: the host's. */
  network: JobNetwork | undefined;
}

export interface StepResult {
  exit: Exit;
  /** Settles when what the step needed is removed. */
  cleaned: Promise<void>;
}

export async function runStep(
  place: StepPlace,
  task: StepTask,
  output: Output,
  options: RunOptions,
): Promise<StepResult> {
  const { host, job } = place;
  const network = task.network === 'none' ? undefined : place.network;
  const env = environmentOf(task);
  const limits = capLimits(task.limits, host.limits);
  const step = makeStepFolder(host.scratch);
  const starter = await host.starters.take(limits);
  const ownLimits = starter.group === undefined ? limitProcess(host.prlimit, limits) : [];
  const command = [...ownLimits, ...taskCommand(task, SCRIPT_PATH)];
  const killsBefore = starter.group?.memoryKills() ?? 0;
  const clean = async (): Promise<void> => {
    await Promise.all([host.starters.giveBack(starter, limits), removeTree(step, { dead: true })]);
  };
  try {
    const root = composeRoot(host.root, {
      workspace: join(job.folder, 'workspace'),
      home: join(job.folder, 'home'),
      step,
      ...(job.objects === undefined ? {} : { objects: job.objects }),
      ...(place.hosts === undefined ? {} : { hosts: place.hosts }),
      ...(network === undefined ? {} : { resolver: network.resolver }),
      network: task.network,
      limits,
    });
    const excerpt = keepBeginning(output);
    const input = { root, env, script: task.script, command, network };
    const ended = await runSandbox(starter, host.pipes, input, excerpt, options);
    const outOfMemory = ended.code !== 0 && (starter.group?.memoryKills() ?? 0) > killsBefore;
    if (!ended.ran && !ended.cancelled && !outOfMemory) throw notStarted(excerpt.text());
    const reason = ended.cancelled ? 'cancelled' : outOfMemory ? 'out of memory' : undefined;
    const exit: Exit = { code: ended.code, ...(reason === undefined ? {} : { reason }), handover: readHandover(step) };
    return { exit, cleaned: clean() };
  } catch (error) {
    await clean();
    throw error;
  }
}

function makeStepFolder(parent: string): string {
  const folder = mkdtempSync(join(parent, 'step-'));
  for (const name of HANDOVER_FILES) closeSync(openSync(join(folder, name), 'wx', 0o644));
  return folder;
}

/**
 * Where we may not make control groups, each process gets limits of its own, inside the sandbox. Data, not address space:
 * runtimes reserve far more addresses than they use. Processes count in the sandbox's own user namespace. CPU has no such
 * limit.
 */
function limitProcess(prlimit: string | undefined, { memory, pids }: Limits): string[] {
  const flags = [
    ...(memory === undefined ? [] : [`--data=${memory}`]),
    ...(pids === undefined ? [] : [`--nproc=${pids}`]),
  ];
  return prlimit === undefined || flags.length === 0 ? [] : [prlimit, ...flags, '--'];
}

function keepBeginning(output: Output): Output & { text: () => string } {
  let beginning = '';
  return {
    write: (bytes) => {
      if (beginning.length < EXCERPT) beginning += bytes.toString('utf8', 0, EXCERPT);
      return output.write(bytes);
    },
    text: () => beginning.slice(0, EXCERPT).trim(),
  };
}

function notStarted(said: string): InfrastructureError {
  const userns = /namespace|uid map|Operation not permitted/i.test(said)
    ? ' Unprivileged user namespaces may be switched off on this machine (kernel.unprivileged_userns_clone, AppArmor).'
    : '';
  return new InfrastructureError(
    'sandbox-failed',
    `The sandbox of the step did not start or did not end by itself: ${said || 'it said nothing.'}${userns}`,
  );
}
