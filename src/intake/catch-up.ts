/**
 * Finds pushes whose delivery never came: forges send once and do not try again. Every known repository is asked for its
 * branch heads now and then; a head that is new since the last look, and that no run was made for, becomes an event.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../errors.ts';
import type { Forge } from '../forges/forge.ts';
import type { Git } from '../git/git.ts';
import type { Redis } from '../queue/connection.ts';
import { type ForgeName, type PipelineEvent, parseRepository } from '../runs/event.ts';
import type { RedisRunStore } from '../runs/redis-store.ts';
import type { RunRecord } from '../runs/run.ts';

export interface CatchUpDeps {
  redis: Redis;
  forges: Map<ForgeName, Forge>;
  git: Pick<Git, 'lsRemote'>;
  allowed: (repository: string) => boolean;
  /** Repositories that ever had a run. */
  repositories(): Promise<string[]>;
  /** Whether this commit of the branch has a run already. */
  isKnown(repository: string, branch: string, sha: string): Promise<boolean>;
  start(event: PipelineEvent, cause: string): Promise<void>;
  /** Before the heads of a repository are looked at: what the forge failed to deliver may still come as a delivery. */
  redeliver(repository: string, signal: AbortSignal): Promise<void>;
  everyMs: number;
  /** A head this young may have its delivery still on the way; ms. */
  graceMs?: number;
  log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
}

const headsKey = (repository: string): string => `ig:heads:${repository}`;
const turnKey = (repository: string): string => `ig:heads-turn:${repository}`;
const GRACE_MS = 10_000;
/** Between two repositories, so that a forge is never asked for many at once. */
const PAUSE_MS = 200;

export interface CatchUp {
  /** Looks at every repository once; gives how many pushes were found. */
  look(): Promise<number>;
  close(): void;
}

export function createCatchUp(deps: CatchUpDeps): CatchUp {
  const stopped = new AbortController();
  const isStopped = (): boolean => stopped.signal.aborted;
  /** Ends early when we are stopped. */
  const pause = (ms: number): Promise<unknown> =>
    sleep(ms, undefined, { signal: stopped.signal }).catch(() => undefined);

  const lookAt = async (repository: string): Promise<number> => {
    const name = parseRepository(repository);
    const forge = name && deps.forges.get(name.forge);
    if (!name || !forge || !deps.allowed(repository)) return 0;
    // One server asks, however many there are.
    if ((await deps.redis.set(turnKey(repository), '1', 'PX', Math.max(1000, deps.everyMs / 2), 'NX')) === null)
      return 0;
    await deps.redeliver(repository, stopped.signal);
    const refs = await deps.git.lsRemote(forge.clone(name.owner, name.name), repository, stopped.signal);
    const before = await deps.redis.hgetall(headsKey(repository));
    // The first look only remembers: what was there before we came is nobody's missed push.
    const isFirst = Object.keys(before).length === 0;
    let found = 0;
    for (const [ref, sha] of refs) {
      const branch = /^refs\/heads\/(.+)$/.exec(ref)?.[1];
      if (branch === undefined || before[ref] === sha) continue;
      if (!isFirst && !(await deps.isKnown(repository, branch, sha))) {
        await pause(deps.graceMs ?? GRACE_MS);
        if (isStopped() || (await deps.isKnown(repository, branch, sha))) continue;
        const event: PipelineEvent = {
          kind: 'push',
          repository,
          ref,
          branch,
          sha,
          ...(before[ref] === undefined ? {} : { before: before[ref] }),
          message: '',
          author: '',
          receivedAt: new Date().toISOString(),
          foundBy: 'catch-up',
        };
        await deps.start(event, `catch-up ${repository} ${ref} ${sha}`);
        deps.log.info({ repository, branch, sha }, 'found by catch-up: a push whose delivery never came');
        found++;
      }
      await deps.redis.hset(headsKey(repository), ref, sha);
    }
    const gone = Object.keys(before).filter((ref) => !refs.has(ref));
    if (gone.length > 0) await deps.redis.hdel(headsKey(repository), ...gone);
    return found;
  };

  const look = async (): Promise<number> => {
    let found = 0;
    const repositories = await deps.repositories().catch((error: unknown) => {
      deps.log.warn({}, `catch-up: ${messageOf(error)}`);
      return [];
    });
    for (const repository of repositories) {
      if (isStopped()) break;
      try {
        found += await lookAt(repository);
      } catch (error) {
        if (!isStopped()) deps.log.warn({ repository }, `catch-up: ${messageOf(error)}`);
      }
      await pause(PAUSE_MS);
    }
    return found;
  };

  // The first look comes soon after a start, the others spread, so that two servers do not ask in step.
  const loop = async (): Promise<void> => {
    await pause(Math.min(5000, deps.everyMs));
    while (!isStopped()) {
      await look();
      await pause(deps.everyMs * (0.9 + Math.random() * 0.2));
    }
  };
  void loop();

  return {
    look,
    close() {
      stopped.abort();
    },
  };
}

/** A delivery that is later than this after catch-up found its push is of another push of the same commit. */
const LATE_MS = 3600_000;

/**
 * For the planner: runs that catch-up made for the push of this event, when its delivery comes late (out of a journal, or
 * sent again by hand). Each belongs to one delivery, so that the same commit pushed again runs again.
 */
export function createCaughtUp(store: Pick<RedisRunStore, 'list' | 'update'>) {
  return async ({ kind, repository, branch, sha, delivery }: PipelineEvent): Promise<RunRecord[]> => {
    if (kind !== 'push' || branch === undefined || sha === undefined || delivery === undefined) return [];
    const { runs } = await store.list({ repository, branch, sha, limit: 100 });
    const found = runs.filter(
      (run) =>
        run.foundBy === 'catch-up' &&
        (run.delivery ?? delivery) === delivery &&
        Date.now() - Date.parse(run.createdAt) < LATE_MS,
    );
    for (const { id } of found)
      await store.update(id, (run) => (run.delivery === delivery ? run : { ...run, delivery }));
    return found;
  };
}
