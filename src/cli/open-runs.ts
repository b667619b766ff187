/** The run store, its lifecycle and queues over one Redis connection: the same for server and worker. */
import type { Logger } from 'pino';
import { InfrastructureError } from '../errors.ts';
import type { Settings } from '../config/schema.ts';
import type { Forge } from '../forges/forge.ts';
import { type Redis, connectRedis } from '../queue/connection.ts';
import { type Queues, createQueues } from '../queue/queues.ts';
import { type Turns, createTurns } from '../queue/turns.ts';
import type { ForgeName } from '../runs/event.ts';
import type { FileArchive } from '../runs/archive.ts';
import { createGroups } from '../runs/groups.ts';
import { decideIf } from '../runs/decide-if.ts';
import type { RunRecord } from '../runs/run.ts';
import { type Leases, createLeases } from '../runs/leases.ts';
import { type Lifecycle, createLifecycle } from '../runs/lifecycle.ts';
import { type Workers, createWorkers } from '../runs/workers.ts';
import { type Repairs, createRepairs } from '../runs/repairs.ts';
import { type RedisRunStore, createRedisRunStore } from '../runs/redis-store.ts';
import { type StatusDelivery, createStatusDelivery } from '../statuses/status-queue.ts';

export interface Runs {
  store: RedisRunStore;
  lifecycle: Lifecycle;
  queues: Queues;
  turns: Turns;
  leases: Leases;
  workers: Workers;
  repairs: Repairs;
  statuses: StatusDelivery;
}

export interface OpenRunsDeps {
  redis: Redis;
  archive: FileArchive;
  /** Only a server archives, since only it surely shares the data folder. */
  archiving?: { keep: number; onEnd(record: RunRecord): void };
  forges: Map<ForgeName, Forge>;
  settings: Settings;
  pageOf: (run: string) => string;
  onPost?: (forge: string, outcome: string) => void;
  log: Logger;
}

export function openRuns({ redis, archive, archiving, forges, settings, pageOf, onPost, log }: OpenRunsDeps): Runs {
  const store = createRedisRunStore(redis, archive);
  const queues = createQueues(redis, sayOnce(log));
  const turns = createTurns(redis);
  const workers = createWorkers(redis);
  const statuses = createStatusDelivery({
    redis,
    forges,
    getRun: (id) => store.get(id),
    enqueue: (line, payload) => queues.addStatus(line, payload),
    prefix: settings.IMPGEM_STATUS_PREFIX,
    pageOf,
    onPost: (forge, outcome) => onPost?.(forge, outcome),
    log,
  });
  const lifecycle = createLifecycle({
    store,
    queues,
    turns,
    groups: createGroups(redis),
    decideIf,
    liveWorkers: () => workers.live(),
    maxLosses: settings.IMPGEM_MAX_LOSSES,
    ...(archiving && {
      archive: { ...archiving, write: (record, plan) => archive.write(record, plan) },
    }),
    statusContext: (record, job) => statuses.line(record, job),
    dueStatuses: (record) => statuses.due(record),
    onError: sayOnce(log),
  });
  return {
    store,
    lifecycle,
    queues,
    turns,
    leases: createLeases(redis),
    workers,
    repairs: createRepairs(redis),
    statuses,
  };
}

/** Connects, saying each new trouble once and its end once. Throws InfrastructureError `redis-missing`. */
export function openRedis(settings: Settings, patience: 'patient' | 'fail-fast', log: Logger): Redis {
  if (settings.REDIS_URL === undefined)
    throw new InfrastructureError(
      'redis-missing',
      'REDIS_URL is not set; set it, or use `impgem up`, which starts a private Redis',
    );
  return connectRedis(settings.REDIS_URL, patience, sayOnce(log));
}

/** How many of them are remembered: more are no longer a few that alternate. */
const TROUBLES = 100;

/** A trouble that repeats every second is said once a minute. */
export function sayOnce(log: Logger): (message: string) => void {
  const said = new Map<string, number>();
  return (message) => {
    if (Date.now() - (said.get(message) ?? 0) < 60_000) return;
    if (said.size >= TROUBLES) said.clear();
    said.set(message, Date.now());
    log.warn(message);
  };
}
