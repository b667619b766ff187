/**
 * The workers that live: each says so with every beat of its leases, and is forgotten when it was silent for as long as a
 * lease lasts. Nothing depends on it but what people are told, and whether a worker of our name is our dead predecessor.
 */
import type { Redis } from '../queue/connection.ts';
import { LEASE_MS } from './leases.ts';

const WORKERS = 'ig:workers';
const SEEN = 'ig:workers-seen';
/** Names of workers that are to take no more jobs. */
const DRAINED = 'ig:workers-drained';

export interface WorkerEntry {
  name: string;
  labels: string[];
  host: string;
  /** Pid and start of the process, which tell a dead one apart from one that reused its pid. */
  pid: number;
  start: string;
  /** Why it takes no job just now. */
  paused?: string;
}

export interface Workers {
  /** I live, for another LEASE_MS. */
  beat(entry: WorkerEntry): Promise<void>;
  leave(name: string): Promise<void>;
  live(): Promise<WorkerEntry[]>;
  /** Tells a worker to take no more jobs, or to take them again; gives whether it was told otherwise before. */
  setDrained(name: string, drained: boolean): Promise<boolean>;
  isDrained(name: string): Promise<boolean>;
}

const BEAT = `
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[3]), ARGV[1])
return 0
`;
const LIVE = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function forget(from, to)
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], from, to)) do
    redis.call('ZREM', KEYS[2], name)
    redis.call('HDEL', KEYS[1], name)
  end
end
forget('-inf', now)
-- From before Redis's clock was set back; one that lives says so again with its next beat.
forget('(' .. (now + tonumber(ARGV[1])), '+inf')
return redis.call('HVALS', KEYS[1])
`;

interface Commands {
  igWorkerBeat(count: number, ...rest: (string | number)[]): Promise<number>;
  igLiveWorkers(count: number, ...rest: (string | number)[]): Promise<string[]>;
}

export function createWorkers(redis: Redis): Workers {
  redis.defineCommand('igWorkerBeat', { lua: BEAT });
  redis.defineCommand('igLiveWorkers', { lua: LIVE });
  const commands = redis as unknown as Commands;
  return {
    async beat(entry) {
      await commands.igWorkerBeat(2, WORKERS, SEEN, entry.name, JSON.stringify(entry), LEASE_MS);
    },
    async leave(name) {
      await redis.multi().hdel(WORKERS, name).zrem(SEEN, name).srem(DRAINED, name).exec();
    },
    async setDrained(name, drained) {
      return (await (drained ? redis.sadd(DRAINED, name) : redis.srem(DRAINED, name))) === 1;
    },
    isDrained: async (name) => (await redis.sismember(DRAINED, name)) === 1,
    live: async () =>
      (await commands.igLiveWorkers(2, WORKERS, SEEN, LEASE_MS)).map((text) => JSON.parse(text) as WorkerEntry),
  };
}

/** Why no worker takes a job with these labels; undefined when one does. */
export function whyNoWorker(workers: readonly WorkerEntry[], labels: readonly string[]): string | undefined {
  const fit = workers.filter((worker) => labels.every((label) => worker.labels.includes(label)));
  const [first] = fit;
  if (!first) return 'none is connected';
  return fit.every((worker) => worker.paused !== undefined) ? `${first.name}: ${first.paused ?? ''}` : undefined;
}
