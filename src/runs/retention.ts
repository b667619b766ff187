/**
 * Removes finished runs past their limits, with all that is theirs, and what belongs to no run any more. The archive says
 * which runs there are, and a run leaves it last: what a crash interrupts is done again by the next sweep.
 */
import { messageOf } from '../errors.ts';
import type { FileArchive } from './archive.ts';
import type { RedisRunStore } from './redis-store.ts';
import type { RunRecord } from './run.ts';
import { isRunId, timeOfRunId } from './run-id.ts';

/** Something that runs have outside the archive: their logs, their lists of artifacts. */
export interface Belongings {
  runs(): Promise<string[]>;
  remove(run: string): Promise<void>;
}

export interface RetentionDeps {
  store: Pick<RedisRunStore, 'remove' | 'isListed'>;
  archive: Pick<FileArchive, 'ids' | 'record' | 'has' | 'remove'>;
  /** By what they are called in the metrics. */
  belongings: Record<string, Belongings>;
  limits: { runs: number; ageMs?: number };
  onRemoved(kind: string, run: string): void;
  onError(message: string): void;
  now?: () => number;
}

/** Every run stays this long after its end: statuses are delivered until then, and what is younger may be in the making. */
const LEAST_MS = 24 * 3_600_000;
/** A sweep removes no more runs than this; the next goes on. */
const AT_ONCE = 10_000;

export interface Retention {
  /** Idempotent; two at once do no harm. Gives how many runs were removed. */
  sweep(): Promise<number>;
}

export function createRetention(deps: RetentionDeps): Retention {
  const { store, archive, belongings } = deps;
  const ageMs = Math.max(LEAST_MS, deps.limits.ageMs ?? Infinity);

  const remove = async (record: RunRecord): Promise<boolean> => {
    if (!(await store.remove(record))) return false;
    for (const kind of Object.values(belongings)) await kind.remove(record.id);
    await archive.remove(record.id);
    deps.onRemoved('run', record.id);
    return true;
  };

  const removeSurplus = async (ids: readonly string[], now: number): Promise<number> => {
    const surplus = ids.length - deps.limits.runs;
    let removed = 0;
    for (const [position, id] of ids.entries()) {
      const leastMs = position < surplus ? LEAST_MS : ageMs;
      // A run ends after it was made, and those that follow are younger still.
      if (now - timeOfRunId(id) < leastMs || removed === AT_ONCE) break;
      try {
        const record = await archive.record(id);
        const isOld = record?.endedAt !== undefined && now - Date.parse(record.endedAt) >= leastMs;
        if (isOld && (await remove(record))) removed++;
      } catch (error) {
        deps.onError(`run ${id} could not be removed: ${messageOf(error)}`);
      }
    }
    return removed;
  };

  const removeOrphans = async (archived: ReadonlySet<string>, now: number): Promise<void> => {
    // An archive without any run is more likely one that is not mounted.
    if (archived.size === 0) return;
    for (const [kind, things] of Object.entries(belongings))
      for (const id of await things.runs()) {
        if (!isRunId(id) || archived.has(id) || now - timeOfRunId(id) < LEAST_MS) continue;
        // A part of the archive that cannot be read names no run, and has them all the same.
        if ((await store.isListed(id)) || (await archive.has(id))) continue;
        await things.remove(id);
        deps.onRemoved(kind, id);
      }
  };

  return {
    async sweep() {
      const now = deps.now?.() ?? Date.now();
      const ids: string[] = [];
      for await (const id of archive.ids()) ids.push(id);
      const removed = await removeSurplus(ids, now);
      await removeOrphans(new Set(ids), now);
      return removed;
    },
  };
}
