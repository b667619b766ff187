/** Runs one script in a sandbox of its own with its limits, and reads what it left. */
import { mkdirSync, mkdtempSync, rmdirSync, unlinkSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { InfrastructureError } from '../../errors.ts';
import type { Exit, JobContext, Output, Task } from '../executor.ts';
import { environmentOf, HANDOVER_FILES, readHandover } from '../shell.ts';
import type { SandboxHost } from './host.ts';
import type { Launches } from './launches.ts';
import { composeRoot } from './root.ts';
import { runSandbox, type RunOptions } from './run.ts';

/** In the folder of the job. */
export const STEPS_FOLDER = 'steps';
/** Beginning of the output that is kept to explain a sandbox that did not start. */
const EXCERPT = 500;

export type StepTask = Pick<
  Task,
  'id' | 'script' | 'shell' | 'env' | 'path' | 'workingDirectory' | 'network' | 'limits'
>;

export interface StepPlace {
  host: SandboxHost;
  job: JobContext;
  launches: Launches;
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
  const step = makeStepFolder(job.folder, task.id);
  const launched = await place.launches.take(task);
  const { group } = launched;
  const clean = async (reuse: boolean): Promise<void> => {
    await Promise.all([group?.release(reuse), removeStepFolder(step)]);
  };
  try {
    const root = composeRoot(host.root, {
      workspace: join(job.folder, 'workspace'),
      home: join(job.folder, 'home'),
      step,
      ...(job.objects === undefined ? {} : { objects: job.objects }),
      ...(place.hosts === undefined ? {} : { hosts: place.hosts }),
      network: task.network,
      limits: { ...host.limits, ...task.limits },
    });
    const excerpt = keepBeginning(output);
    const ended = await runSandbox(launched, { root, env, script: task.script }, excerpt, options);
    const outOfMemory = ended.code !== 0 && (group?.outOfMemory() ?? false);
    if (!ended.ran && !ended.cancelled && !outOfMemory) throw notStarted(excerpt.text());
    const reason = ended.cancelled ? 'cancelled' : outOfMemory ? 'out of memory' : undefined;
    const exit: Exit = { code: ended.code, ...(reason === undefined ? {} : { reason }), handover: readHandover(step) };
    return { exit, cleaned: clean(reason === undefined) };
  } catch (error) {
    await clean(false);
    throw error;
  }
}

function makeStepFolder(job: string, id: string): string {
  const parent = join(job, STEPS_FOLDER);
  mkdirSync(parent, { recursive: true });
  const folder = mkdtempSync(join(parent, `${id}-`));
  for (const name of HANDOVER_FILES) writeFileSync(join(folder, name), '');
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
