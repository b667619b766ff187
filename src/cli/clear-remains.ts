import type { Executor, JobOwner } from '../executors/executor.ts';
import type { RedisRunStore } from '../runs/redis-store.ts';
import { isFinal } from '../runs/run.ts';
import { timeOfRunId } from '../runs/run-id.ts';
import { reapJobFolders } from '../worker/job-folder.ts';

/** What is this young may belong to a run that was not there yet when we looked. */
const YOUNG_MS = 60_000;

/**
 * Removes what no live job owns: containers, networks, control groups and job folders that dead workers left. Gives how
 * many things that were.
 */
export async function clearRemains(executor: Executor, store: RedisRunStore, workFolder: string): Promise<number> {
  const lookedAt = Date.now();
  const attempts = new Map<string, number>();
  for (const id of await store.active()) {
    const record = await store.get(id);
    for (const job of record?.jobs ?? []) if (!isFinal(job.state)) attempts.set(`${id} ${job.id}`, job.attempt);
  }
  const isLive = ({ run, job, attempt }: JobOwner): boolean => {
    const current = attempts.get(`${run} ${job}`);
    // A later attempt than the one we saw has begun meanwhile.
    return current === undefined ? lookedAt - timeOfRunId(run) < YOUNG_MS : attempt >= current;
  };
  const [made, folders] = await Promise.all([executor.reap(isLive), reapJobFolders(workFolder, isLive)]);
  return made + folders;
}
