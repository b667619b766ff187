/**
 * Finds pushes whose delivery never came: forges send once and do not try again. Every known repository is asked for its
 * branch heads now and then; a head that is new since the last look, and that no delivery told of, becomes an event.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { InfrastructureError, messageOf } from '../errors.ts';
import type { Forge } from '../forges/forge.ts';
import type { Git } from '../git/git.ts';
import type { Redis } from '../queue/connection.ts';
import { type ForgeName, type PipelineEvent, parseRepository } from '../runs/event.ts';
import type { IsLeft } from './left-deliveries.ts';
import type { Planner } from './planner.ts';
import type { Pushes } from './pushes.ts';

export interface CatchUpDeps {
  redis: Redis;
  forges: Map<ForgeName, Forge>;
  git: Pick<Git, 'lsRemote'>;
  allowed: (repository: string) => boolean;
  /** Repositories that ever had a run. */
  repositories(): Promise<string[]>;
  pushes: Pick<Pushes, 'toldBy' | 'find'>;
  isLeft: IsLeft;
  /** Whether this commit of the branch has a run already: somebody may have asked for one. */
  hasRun(repository: string, branch: string, sha: string): Promise<boolean>;
  /** The commit of the newest push to this branch that has a run. */
  lastPush(repository: string, branch: string): Promise<string | undefined>;
  planner: Pick<Planner, 'settle'>;
  /** Hears of every push that led to runs. */
  onFound(): void;
  /** Before the heads of a repository are looked at: what the forge failed to deliver may still come as a delivery. */
  redeliver(repository: string, signal: AbortSignal): Promise<void>;
  everyMs: number;
  /** The delivery of a head that is new may still be on the way: so long it is waited for; ms. */
  graceMs?: number;
  /** A forge that has not listed the branches by then is asked at the next look; ms. */
  listingMs?: number;
  log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
}

interface Head {
  repository: string;
  ref: string;
  branch: string;
  sha: string;
  /** The delivery that told of it, and that nobody plans. */
  left?: string;
}

const headsKey = (repository: string): string => `ig:heads:${repository}`;
const turnKey = (repository: string): string => `ig:heads-turn:${repository}`;
const startTurnKey = (repository: string): string => `ig:heads-turn-of-start:${repository}`;
const GRACE_MS = 10_000;
/** Far less than a fetch may take: a list of branches is small. */
const LISTING_MS = 15_000;
/** Repositories of one forge that are looked at at once: one that hangs holds up few, and no other forge. */
const PER_FORGE = 4;
/** Between two repositories, so that a forge is not asked for many in a row. */
const PAUSE_MS = 200;

export interface CatchUp {
  /** Looks at every repository once; gives how many pushes were found. */
  look(): Promise<number>;
  close(): void;
}

export function createCatchUp(deps: CatchUpDeps): CatchUp {
  const stopped = new AbortController();
  const startMs = Math.min(5000, deps.everyMs);
  const isStopped = (): boolean => stopped.signal.aborted;
  /** Ends early when we are stopped. */
  const pause = (ms: number): Promise<unknown> =>
    sleep(ms, undefined, { signal: stopped.signal }).catch(() => undefined);

  /** The head, unless somebody told of it or it has run. */
  const ifMissing = async (head: Head): Promise<Head | undefined> => {
    const forge = parseRepository(head.repository)?.forge;
    const told = await deps.pushes.toldBy(head);
    const isLeft = told !== undefined && forge !== undefined && (await deps.isLeft(forge, told));
    if (told !== undefined && !isLeft) return undefined;
    if (await deps.hasRun(head.repository, head.branch, head.sha)) return undefined;
    return isLeft ? { ...head, left: told } : head;
  };

  const missing = async (heads: Head[]): Promise<Head[]> =>
    (await Promise.all(heads.map(ifMissing))).filter((head) => head !== undefined);

  const remember = async (repository: string, heads: Head[]): Promise<void> => {
    if (heads.length === 0) return;
    await deps.redis.hset(headsKey(repository), Object.fromEntries(heads.map(({ ref, sha }) => [ref, sha])));
  };

  /** Puts the commits into `known` that were pushed last, by what has run. */
  const rememberPushes = async (heads: Head[], known: Record<string, string>): Promise<void> => {
    for (const { repository, ref, branch } of heads) {
      const sha = await deps.lastPush(repository, branch);
      if (sha !== undefined) known[ref] = sha;
    }
  };

  /** Failed plannings of heads that are not remembered yet. */
  const failures = new Map<string, number>();

  /** Whether it led to runs. Throws what may pass: the next look tries again, but not for ever. */
  const runMissed = async (head: Head, before: string | undefined): Promise<boolean> => {
    const { repository, ref, branch, sha } = head;
    const cause = `catch-up ${repository} ${ref} ${sha}`;
    const naming = await deps.pushes.find(head, { cause, receivedAt: new Date().toISOString() }, head.left);
    if (!naming) return false;
    const event: PipelineEvent = {
      kind: 'push',
      repository,
      ref,
      branch,
      sha,
      ...(before === undefined ? {} : { before }),
      message: '',
      author: '',
      receivedAt: naming.receivedAt,
      foundBy: 'catch-up',
    };
    const { runs } = await deps.planner.settle(event, naming.cause, () => {
      const count = (failures.get(cause) ?? 0) + 1;
      failures.set(cause, count);
      return Promise.resolve(count);
    });
    failures.delete(cause);
    if (runs.length === 0) return false;
    deps.onFound();
    deps.log.info({ repository, branch, sha }, 'found by catch-up: a push whose delivery never came');
    return true;
  };

  /**
   * One server asks, however many there are. The first look after a start has a turn of its own: what was looked at
   * before the start is no reason to wait, as a push may have been missed since.
   */
  const takeTurn = async (repository: string, starting: boolean): Promise<boolean> => {
    const turnMs = Math.max(1000, deps.everyMs / 2);
    if (!starting) return (await deps.redis.set(turnKey(repository), '1', 'PX', turnMs, 'NX')) !== null;
    // Shorter than the wait before the look, so it is never of a look before this start.
    const taken = await deps.redis.set(startTurnKey(repository), '1', 'PX', Math.ceil(startMs * 0.8), 'NX');
    if (taken === null) return false;
    await deps.redis.set(turnKey(repository), '1', 'PX', turnMs);
    return true;
  };

  const list = async (forge: Forge, owner: string, name: string, repository: string): Promise<Map<string, string>> => {
    const late = AbortSignal.timeout(deps.listingMs ?? LISTING_MS);
    try {
      return await deps.git.lsRemote(forge.clone(owner, name), repository, AbortSignal.any([stopped.signal, late]));
    } catch (error) {
      if (isStopped() || !late.aborted) throw error;
      throw new InfrastructureError('git-timeout', `${repository} did not list its branches in time`, {
        retryable: true,
        cause: error,
      });
    }
  };

  const lookAt = async (repository: string, starting: boolean): Promise<number> => {
    const name = parseRepository(repository);
    const forge = name && deps.forges.get(name.forge);
    if (!name || !forge || !deps.allowed(repository)) return 0;
    if (!(await takeTurn(repository, starting))) return 0;
    await deps.redeliver(repository, stopped.signal);
    const refs = await list(forge, name.owner, name.name, repository);
    const before = await deps.redis.hgetall(headsKey(repository));
    const heads = [...refs].flatMap(([ref, sha]) => {
      const branch = /^refs\/heads\/(.+)$/.exec(ref)?.[1];
      return branch === undefined || before[ref] === sha ? [] : [{ repository, ref, branch, sha }];
    });
    // The first look only remembers, but for branches of which pushes were run: what was there before we came is nobody's
    // missed push.
    const isFirst = Object.keys(before).length === 0;
    if (isFirst) await rememberPushes(heads, before);
    let missed = await missing(isFirst ? heads.filter(({ ref }) => before[ref] !== undefined) : heads);
    if (missed.length > 0) {
      await pause(deps.graceMs ?? GRACE_MS);
      if (isStopped()) return 0;
      missed = await missing(missed);
    }
    // All at once: half of a first look, and the others would be missed at the next.
    await remember(
      repository,
      heads.filter((head) => !missed.some(({ ref }) => ref === head.ref)),
    );
    let found = 0;
    for (const head of missed) {
      if (isStopped()) break;
      if (await runMissed(head, before[head.ref])) found++;
      await remember(repository, [head]);
    }
    const gone = Object.keys(before).filter((ref) => !refs.has(ref));
    if (gone.length > 0) await deps.redis.hdel(headsKey(repository), ...gone);
    return found;
  };

  const look = async (starting = false): Promise<number> => {
    let found = 0;
    const repositories = await deps.repositories().catch((error: unknown) => {
      deps.log.warn({}, `catch-up: ${messageOf(error)}`);
      return [];
    });
    const follow = async (line: Iterable<string>): Promise<void> => {
      for (const repository of line) {
        if (isStopped()) break;
        try {
          found += await lookAt(repository, starting);
        } catch (error) {
          if (!isStopped()) deps.log.warn({ repository }, `catch-up: ${messageOf(error)}`);
        }
        await pause(PAUSE_MS);
      }
    };
    await Promise.all(
      [...deps.forges.keys()].flatMap((forge) => {
        // Shared: whoever is free goes on with the next.
        const line = repositories.filter((each) => parseRepository(each)?.forge === forge).values();
        return Array.from({ length: PER_FORGE }, () => follow(line));
      }),
    );
    return found;
  };

  // The first look comes soon after a start, the others spread, so that two servers do not ask in step.
  const loop = async (): Promise<void> => {
    await pause(startMs);
    for (let starting = true; !isStopped(); starting = false) {
      await look(starting);
      await pause(deps.everyMs * (0.9 + Math.random() * 0.2));
    }
  };
  void loop();

  return {
    look: () => look(),
    close() {
      stopped.abort();
    },
  };
}
