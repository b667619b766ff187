import type { Executor, JobOwner } from '../executors/executor.ts';
import { jobOf } from '../runs/lookups.ts';
import type { RedisRunStore } from '../runs/redis-store.ts';
import { isFinal } from '../runs/run.ts';
import { reapJobFolders } from '../worker/job-folder.ts';

/**
 * Removes what no live job owns: containers, networks, control groups and job folders that dead workers left. Gives how
 * many things that were.
 */
export async function clearRemains(
  executor: Pick<Executor, 'reap' | 'removeFolder'>,
  store: Pick<RedisRunStore, 'get'>,
  workFolder: string,
): Promise<number> {
  // A job is claimed before anything of it is made: whoever looks after that knows its run.
  const isLive = async ({ run, job, attempt }: JobOwner): Promise<boolean> => {
    const record = await store.get(run);
    const found = record && jobOf(record, job);
    // A later attempt than the one we see may have begun meanwhile.
    return found !== undefined && !isFinal(found.state) && attempt >= found.attempt;
  };
  // First what may still write to the folders.
  const made = await executor.reap(isLive);
  return made + (await reapJobFolders(workFolder, isLive, (folder) => executor.removeFolder(folder)));
}
