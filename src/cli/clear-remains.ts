import type { Executor, JobOwner } from '../executors/executor.ts';
import { jobOf } from '../runs/lookups.ts';
import type { RedisRunStore } from '../runs/redis-store.ts';
import { type RunRecord, isFinal } from '../runs/run.ts';
import { timeOfRunId } from '../runs/run-id.ts';
import { reapJobFolders } from '../worker/job-folder.ts';

/** What is this young may belong to a run that was not there yet when we looked. */
const YOUNG_MS = 60_000;

/**
 * Removes what no live job owns: containers, networks, control groups and job folders that dead workers left. Gives how
 * many things that were.
 */
export async function clearRemains(executor: Executor, store: RedisRunStore, workFolder: string): Promise<number> {
  const folders = await reapJobFolders(
    workFolder,
    async (owner) => isCurrent(await store.get(owner.run), owner),
    (folder) => executor.removeFolder(folder),
  );
  const lookedAt = Date.now();
  const active = new Map<string, RunRecord>();
  for (const id of await store.active()) {
    const record = await store.get(id);
    if (record) active.set(id, record);
  }
  const made = await executor.reap((owner) => {
    const record = active.get(owner.run);
    return record ? isCurrent(record, owner) : lookedAt - timeOfRunId(owner.run) < YOUNG_MS;
  });
  return made + folders;
}

/** A later attempt than the one we saw may have begun meanwhile. */
function isCurrent(record: RunRecord | undefined, { job, attempt }: JobOwner): boolean {
  const found = record && jobOf(record, job);
  return found !== undefined && !isFinal(found.state) && attempt >= found.attempt;
}
