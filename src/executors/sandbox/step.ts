/** Runs one script in a sandbox of its own with its limits, and reads what it left. */
import { closeSync, mkdtempSync, openSync, rmdirSync, unlinkSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { InfrastructureError } from '../../errors.ts';
import type { Exit, JobContext, Output, Task } from '../executor.ts';
import { environmentOf, HANDOVER_FILES, readHandover, taskCommand } from '../shell.ts';
import type { SandboxHost } from './host.ts';
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
  const env = environmentOf(task);
  const command = taskCommand(task, SCRIPT_PATH);
  const limits = { ...host.limits, ...task.limits };
  const step = makeStepFolder(host.scratch);
  const starter = await host.starters.take(limits);
  const killsBefore = starter.group?.memoryKills() ?? 0;
  const clean = async (): Promise<void> => {
    await Promise.all([host.starters.giveBack(starter, limits), removeStepFolder(step)]);
  };
  try {
    const root = composeRoot(host.root, {
      workspace: join(job.folder, 'workspace'),
      home: join(job.folder, 'home'),
      step,
      ...(job.objects === undefined ? {} : { objects: job.objects }),
      ...(place.hosts === undefined ? {} : { hosts: place.hosts }),
      network: task.network,
      limits,
    });
    const excerpt = keepBeginning(output);
    const ended = await runSandbox(starter, host.pipes, { root, env, script: task.script, command }, excerpt, options);
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

/** Most steps leave just the files they were given. */
async function removeStepFolder(folder: string): Promise<void> {
  try {
    for (const name of HANDOVER_FILES) unlinkSync(join(folder, name));
    rmdirSync(folder);
  } catch {
    await rm(folder, { recursive: true, force: true });
  }
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
