/** Runs in Redis: create once, read, list, and write transitions by compare-and-set. What a transition may do is `machine.ts`'s. */
import { randomUUID } from 'node:crypto';
import type { Redis } from '../queue/connection.ts';
import { InfrastructureError, InputError } from '../errors.ts';
import { announceCancel, announceEnd, feedChannel } from '../queue/feed.ts';
import type { Plan } from './plan.ts';
import { loadRunScripts } from './redis-scripts.ts';
import type { RunRecord } from './run.ts';
import { isRunId, timeOfRunId } from './run-id.ts';
import {
  ACTIVE_KEY,
  ALL_KEY,
  FINISHED_KEY,
  REPOSITORIES_KEY,
  changedFields,
  fieldsOf,
  holdKey,
  indexFor,
  matches,
  numberKey,
  planKey,
  recordFrom,
  runKey,
  stateIndexes,
  steadyIndexes,
} from './run-keys.ts';
import type { FeedMessage, RunFilter } from './store.ts';
import { createUsedLast } from './used-last.ts';

/** Finished runs that left Redis. */
export interface RunArchive {
  record(id: string): Promise<RunRecord | undefined>;
  /** The record if it was read lately. It never changes, but may be removed: for ids that the index just gave. */
  recent(id: string): RunRecord | undefined;
  plan(id: string): Promise<Plan | undefined>;
}

export interface RedisRunStore {
  /** Idempotent by id; gives the record as stored (its number is the store's) and whether this call made it. */
  create(record: RunRecord, plan: Plan): Promise<{ record: RunRecord; created: boolean }>;
  get(id: string): Promise<RunRecord | undefined>;
  plan(id: string): Promise<Plan | undefined>;
  /** Applies a move; undefined for an unknown run. `next === previous` when the move was not allowed. */
  update(
    id: string,
    move: (record: RunRecord) => RunRecord,
  ): Promise<{ previous: RunRecord; next: RunRecord } | undefined>;
  list(filter: RunFilter): Promise<{ runs: RunRecord[]; next?: string }>;
  /** Ids of runs that are not over, or whose end was not seen through. */
  active(): Promise<string[]>;
  /** Every repository that ever had a run. */
  repositories(): Promise<string[]>;
  /**
   * The end of the run was seen through (statuses queued, archive written): beyond `keep` the oldest leave Redis. Gives
   * whether this was the first to say so.
   */
  settle(id: string, keep: number): Promise<boolean>;
  /** Puts a finished run of the archive into the indexes, and counts the numbers of its repository on from its. Idempotent. */
  reindex(records: RunRecord[]): Promise<void>;
  /** For the next minutes the run is not removed, since a re-run is made of it. False: it is being removed. */
  hold(id: string): Promise<boolean>;
  /** Takes a finished run out of Redis and all lists. False: it must stay, as it is not over or is held. Idempotent. */
  remove(record: RunRecord): Promise<boolean>;
  /** Whether Redis knows the run, be it only as one that is in the archive. */
  isListed(id: string): Promise<boolean>;
  /** Forgets an id that names no run. */
  forget(id: string): Promise<void>;
  /** Tells the servers that the run is over. */
  announceEnd(run: string): Promise<void>;
  notify(message: FeedMessage): Promise<void>;
  /** Tells the workers that something running in this run was asked to end. */
  announceCancel(run: string): Promise<void>;
}

/** A list reads no more runs than it shows, and one to know whether there are more; but not in tiny steps. */
const LEAST = 10;
const MAX_TRIES = 50;
/** Of plans in memory, as JSON: those of some hundred runs under way. */
const PLANS_SIZE = 16 * 1024 ** 2;
/** Far longer than it takes to make a re-run, or to remove a run. */
const HOLD_MS = 600_000;

export function createRedisRunStore(redis: Redis, archive: RunArchive): RedisRunStore {
  const scripts = loadRunScripts(redis);
  const plans = createUsedLast<Plan>(PLANS_SIZE);

  const hot = async (id: string): Promise<RunRecord | undefined> => recordFrom(await redis.hgetall(runKey(id)));

  const get = async (id: string): Promise<RunRecord | undefined> => {
    if (!isRunId(id)) return undefined;
    return (await hot(id)) ?? archive.record(id);
  };

  const many = async (ids: string[]): Promise<RunRecord[]> => {
    const known = new Map(ids.map((id) => [id, archive.recent(id)]));
    const unknown = ids.filter((id) => !known.get(id));
    const pipeline = redis.pipeline();
    for (const id of unknown) pipeline.hgetall(runKey(id));
    const rows = (await pipeline.exec()) ?? [];
    await Promise.all(
      unknown.map(async (id, position) => {
        const [error, fields] = rows[position] ?? [];
        if (error)
          throw new InfrastructureError('redis', `Redis refused to read runs: ${error.message}`, { cause: error });
        known.set(id, recordFrom(fields as Record<string, string>) ?? (await archive.record(id)));
      }),
    );
    const records = [...known.values()];
    return records.filter((record) => record !== undefined);
  };

  return {
    async create(record, plan) {
      const fields = Object.entries(fieldsOf(record)).flat();
      const text = JSON.stringify(plan);
      const number = await scripts.create(
        [runKey(record.id), planKey(record.id), numberKey(record.repository), ACTIVE_KEY, REPOSITORIES_KEY, ALL_KEY],
        [
          record.id,
          String(timeOfRunId(record.id)),
          record.repository,
          text,
          String(fields.length / 2),
          ...fields,
          ...steadyIndexes(record),
          ...stateIndexes(record, record.state),
        ],
      );
      if (number > 0) {
        plans.put(record.id, plan, text.length);
        return { record: { ...record, number }, created: true };
      }
      const stored = await get(record.id);
      if (!stored)
        throw new InfrastructureError('run-vanished', `Run ${record.id} exists and cannot be read`, {
          retryable: true,
        });
      return { record: stored, created: false };
    },

    get,

    async plan(id) {
      if (!isRunId(id)) return undefined;
      const known = plans.get(id);
      if (known) return known;
      const text = await redis.get(planKey(id));
      if (text === null) return archive.plan(id);
      const plan = JSON.parse(text) as Plan;
      plans.put(id, plan, text.length);
      return plan;
    },

    async update(id, move) {
      if (!isRunId(id)) return undefined;
      for (let tries = 0; tries < MAX_TRIES; tries++) {
        const previous = await hot(id);
        if (!previous) return undefined;
        const moved = move(previous);
        if (moved === previous) return { previous, next: previous };
        const next = { ...moved, version: previous.version + 1 };
        const fields = Object.entries(changedFields(previous, next)).flat();
        const stateChanged = previous.state !== next.state;
        const leave = stateChanged ? stateIndexes(previous, previous.state) : [];
        const enter = stateChanged ? stateIndexes(next, next.state) : [];
        const message: FeedMessage = { kind: 'run', run: id };
        const written = await scripts.commit(
          [runKey(id)],
          [
            id,
            String(previous.version),
            feedChannel(id),
            JSON.stringify(message),
            String(timeOfRunId(id)),
            randomUUID(),
            String(fields.length / 2),
            ...fields,
            String(leave.length),
            ...leave,
            ...enter,
          ],
        );
        if (written) return { previous, next };
      }
      throw new InfrastructureError('run-contended', `Run ${id} changes too quickly to be written`, {
        retryable: true,
      });
    },

    async list({ limit, cursor, ...filter }) {
      if (cursor !== undefined && !isRunId(cursor))
        throw new InputError(
          'cursor-invalid',
          'cursor is not one that this server gave; leave it out to start at the newest run',
        );
      const key = indexFor(filter);
      const found: RunRecord[] = [];
      let after = cursor;
      for (;;) {
        const count = Math.max(LEAST, limit + 1 - found.length);
        const ids = await pageAfter(redis, key, after, count);
        for (const record of await many(ids)) {
          if (!matches(record, filter)) continue;
          if (found.length === limit) return { runs: found, next: found[limit - 1]?.id ?? '' };
          found.push(record);
        }
        if (ids.length < count) return { runs: found };
        after = ids[ids.length - 1];
      }
    },

    active: () => redis.zrange(ACTIVE_KEY, 0, '-1'),

    repositories: () => redis.zrange(REPOSITORIES_KEY, 0, '-1'),

    async settle(id, keep) {
      const args = [id, String(Date.now()), String(keep), runKey(''), planKey('')];
      plans.drop(id);
      return scripts.settle([ACTIVE_KEY, FINISHED_KEY], args);
    },

    async reindex(records) {
      await Promise.all(
        records.map((record) =>
          scripts.reindex(
            [numberKey(record.repository), REPOSITORIES_KEY, holdKey(record.id)],
            [
              record.id,
              String(timeOfRunId(record.id)),
              record.repository,
              String(record.number),
              ...steadyIndexes(record),
              ...stateIndexes(record, record.state),
            ],
          ),
        ),
      );
    },

    hold: (id) => scripts.hold([holdKey(id)], [String(HOLD_MS)]),

    remove: (record) =>
      scripts.remove(
        [holdKey(record.id), ACTIVE_KEY, FINISHED_KEY, runKey(record.id), planKey(record.id)],
        [record.id, String(HOLD_MS), ...steadyIndexes(record), ...stateIndexes(record, record.state)],
      ),

    async isListed(id) {
      return (await redis.exists(runKey(id))) === 1 || (await redis.zscore(ALL_KEY, id)) !== null;
    },

    async forget(id) {
      await redis.zrem(ACTIVE_KEY, id);
    },

    announceEnd: (run) => announceEnd(redis, run),

    announceCancel: (run) => announceCancel(redis, run),

    async notify(message) {
      await redis.publish(feedChannel(message.run), JSON.stringify(message));
    },
  };
}

/** `count` ids older than `after`, or a few more. Ids of one millisecond share a score and are told apart by their order. */
async function pageAfter(redis: Redis, key: string, after: string | undefined, count: number): Promise<string[]> {
  if (after === undefined) return redis.zrevrange(key, 0, count - 1);
  const score = timeOfRunId(after);
  const same = (await redis.zrevrangebyscore(key, String(score), String(score))).filter((id) => id < after);
  const older = await redis.zrevrangebyscore(key, `(${score}`, '-inf', 'LIMIT', '0', count);
  return [...same, ...older];
}
