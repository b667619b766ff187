/** Work folders of `impgem run`, named by their process, so that a later run finds what one left that was killed. */
import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Executor, JobOwner } from '../../executors/executor.ts';
import { processStart } from '../../process-start.ts';
import { jobFolderName } from '../../worker/job-folder.ts';

const PREFIX = 'work-';

/** `work-PID-START-RANDOM`. */
export function newWorkName(): string {
  return `${PREFIX}${process.pid}-${processStart(process.pid)}-${randomUUID().slice(0, 8)}`;
}

/** Removes what runs of this checkout left whose process is gone: it was killed, or left at the second Ctrl-C. */
export async function clearDeadRuns(folder: string, executor: Executor): Promise<void> {
  // A job has its folder before it has anything else, and keeps it longest.
  const isLive = (owner: JobOwner): boolean =>
    worksIn(folder).some((name) => isAlive(name) && existsSync(join(folder, name, jobFolderName(owner))));
  await executor.reap(isLive);
  for (const name of worksIn(folder)) if (!isAlive(name)) await executor.removeFolder(join(folder, name));
}

function worksIn(folder: string): string[] {
  return readdirSync(folder).filter((name) => name.startsWith(PREFIX));
}

function isAlive(name: string): boolean {
  const [pid = '', start = ''] = name.slice(PREFIX.length).split('-');
  return start !== '' && processStart(Number(pid)) === start;
}
