/**
 * Who holds which job, and until when. A worker renews its leases every few seconds; one that is not renewed in time
 * means a dead (or stopped) worker, and its job goes to another. All times are Redis's own, so no two clocks are compared.
 */
import type { Redis } from '../queue/connection.ts';

const LEASES = 'ig:leases';
export const LEASE_MS = 15_000;

export interface Lease {
  run: string;
  job: string;
  fence: number;
  worker: string;
}

export interface Leases {
  renew(leases: Lease[]): Promise<void>;
  drop(lease: Lease): Promise<void>;
  /** Those that ran out, and Redis's time (ms) at which they had. */
  expired(): Promise<{ at: number; leases: Lease[] }>;
  /** All leases of a worker of this name: at its start, those of its dead predecessor. */
  ofWorker(worker: string): Promise<Lease[]>;
  all(): Promise<Lease[]>;
}

const RENEW = `
local time = redis.call('TIME')
local ends = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[1])
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], ends, ARGV[i]) end
return 0
`;
// A lease that ends later than one can was made before Redis's clock was set back: a worker that lives has renewed it since.
const EXPIRED = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1000)
for _, lease in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. (now + tonumber(ARGV[1])), '+inf', 'LIMIT', 0, 1000)) do
  found[#found + 1] = lease
end
return {now, found}
`;

export function createLeases(redis: Redis): Leases {
  redis.defineCommand('igRenewLeases', { lua: RENEW });
  redis.defineCommand('igExpiredLeases', { lua: EXPIRED });
  const commands = redis as unknown as {
    igRenewLeases(count: number, key: string, ...rest: (string | number)[]): Promise<number>;
    igExpiredLeases(count: number, key: string, ms: number): Promise<[number, string[]]>;
  };
  const all = async (): Promise<Lease[]> => (await redis.zrange(LEASES, 0, '-1')).map(decode);
  return {
    async renew(leases) {
      if (leases.length > 0) await commands.igRenewLeases(1, LEASES, LEASE_MS, ...leases.map(encode));
    },
    async drop(lease) {
      await redis.zrem(LEASES, encode(lease));
    },
    async expired() {
      const [at, found] = await commands.igExpiredLeases(1, LEASES, LEASE_MS);
      return { at, leases: found.map(decode) };
    },
    ofWorker: async (worker) => (await all()).filter((lease) => lease.worker === worker),
    all,
  };
}

// None of the parts can hold a `|`.
const encode = ({ run, job, fence, worker }: Lease): string => [run, job, fence, worker].join('|');

function decode(text: string): Lease {
  const [run = '', job = '', fence = '0', worker = ''] = text.split('|');
  return { run, job, fence: Number(fence), worker };
}
