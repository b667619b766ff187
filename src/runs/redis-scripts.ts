/** The atomic writes of the run store. Each is one script, so a crash leaves either all of it or none. */
import type { Redis } from '../queue/connection.ts';

/**
 * Creates a run unless it exists, be it only in the archive. KEYS: run, plan, number, active, repositories, all. ARGV: id,
 * score, repository, plan JSON, number of fields, field, value..., index keys... -> the run's number, or 0 when it exists.
 */
const CREATE = `
if redis.call('EXISTS', KEYS[1]) == 1 or redis.call('ZSCORE', KEYS[6], ARGV[1]) then return 0 end
local id, score, count = ARGV[1], ARGV[2], tonumber(ARGV[5])
local number = redis.call('INCR', KEYS[3])
local fields = {'number', tostring(number)}
for i = 6, 5 + count * 2 do fields[#fields + 1] = ARGV[i] end
redis.call('HSET', KEYS[1], unpack(fields))
redis.call('SET', KEYS[2], ARGV[4])
redis.call('ZADD', KEYS[4], score, id)
redis.call('ZADD', KEYS[5], score, ARGV[3])
for i = 6 + count * 2, #ARGV do redis.call('ZADD', ARGV[i], score, id) end
return number
`;

/**
 * Writes a transition if the version is still the one it was computed from. KEYS: run. ARGV: id, expected version,
 * channel, message, score, id of this call, number of fields, field, value..., number of indexes to leave, keys...,
 * indexes to enter... -> 1 written, 0 somebody was quicker. A connection that breaks sends its commands again: the call's
 * id tells that it was this call itself that was quicker, or a claim would be lost to the worker that made it.
 */
const COMMIT = `
local version, by = unpack(redis.call('HMGET', KEYS[1], 'v', 'by'))
if version ~= ARGV[2] then return by == ARGV[6] and 1 or 0 end
local id, count = ARGV[1], tonumber(ARGV[7])
local fields = {'by', ARGV[6]}
for i = 8, 7 + count * 2 do fields[#fields + 1] = ARGV[i] end
redis.call('HSET', KEYS[1], unpack(fields))
local at = 8 + count * 2
local leave = tonumber(ARGV[at])
for i = at + 1, at + leave do redis.call('ZREM', ARGV[i], id) end
for i = at + leave + 1, #ARGV do redis.call('ZADD', ARGV[i], ARGV[5], id) end
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
`;

/**
 * Puts a run that is over into the indexes, unless it is being removed. KEYS: number, repositories, hold. ARGV: id, score,
 * repository, the run's number, index keys...
 */
const REINDEX = `
local id, score, number = ARGV[1], ARGV[2], tonumber(ARGV[4])
if number > tonumber(redis.call('GET', KEYS[1]) or '0') then redis.call('SET', KEYS[1], number) end
redis.call('ZADD', KEYS[2], 'GT', score, ARGV[3])
if redis.call('GET', KEYS[3]) == 'removed' then return 0 end
for i = 5, #ARGV do redis.call('ZADD', ARGV[i], score, id) end
return 1
`;

/**
 * A run's end was seen through: from active to finished, and the oldest finished ones beyond `keep` leave. KEYS: active,
 * finished. ARGV: id, now, keep, key of a run without its id, key of a plan without its id. -> 1 when it was active.
 */
const SETTLE = `
local ended = redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
for _, old in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1 - tonumber(ARGV[3]))) do
  redis.call('DEL', ARGV[4] .. old, ARGV[5] .. old)
  redis.call('ZREM', KEYS[2], old)
end
return ended
`;

/** A run is about to be run again: it must not be removed now. KEYS: hold. ARGV: ms. -> 0 when it is being removed. */
const HOLD = `
if redis.call('GET', KEYS[1]) == 'removed' then return 0 end
redis.call('SET', KEYS[1], 'rerun', 'PX', ARGV[1])
return 1
`;

/**
 * Takes a run out of Redis unless it is active or held. KEYS: hold, active, finished, run, plan. ARGV: id, ms that it
 * stays barred from re-runs, index keys... -> 1 when it may be removed elsewhere too.
 */
const REMOVE = `
if redis.call('ZSCORE', KEYS[2], ARGV[1]) or redis.call('GET', KEYS[1]) == 'rerun' then return 0 end
redis.call('SET', KEYS[1], 'removed', 'PX', ARGV[2])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('DEL', KEYS[4], KEYS[5])
for i = 3, #ARGV do redis.call('ZREM', ARGV[i], ARGV[1]) end
return 1
`;

export interface RunScripts {
  create(keys: string[], args: string[]): Promise<number>;
  commit(keys: string[], args: string[]): Promise<boolean>;
  reindex(keys: string[], args: string[]): Promise<number>;
  settle(keys: string[], args: string[]): Promise<boolean>;
  hold(keys: string[], args: string[]): Promise<boolean>;
  remove(keys: string[], args: string[]): Promise<boolean>;
}

type Command = (count: number, ...rest: string[]) => Promise<number>;

export function loadRunScripts(redis: Redis): RunScripts {
  redis.defineCommand('igCreateRun', { lua: CREATE });
  redis.defineCommand('igCommitRun', { lua: COMMIT });
  redis.defineCommand('igReindexRun', { lua: REINDEX });
  redis.defineCommand('igSettleRun', { lua: SETTLE });
  redis.defineCommand('igHoldRun', { lua: HOLD });
  redis.defineCommand('igRemoveRun', { lua: REMOVE });
  type Name = 'igCreateRun' | 'igCommitRun' | 'igReindexRun' | 'igSettleRun' | 'igHoldRun' | 'igRemoveRun';
  const commands = redis as unknown as Record<Name, Command>;
  return {
    create: (keys, args) => commands.igCreateRun(keys.length, ...keys, ...args),
    settle: async (keys, args) => (await commands.igSettleRun(keys.length, ...keys, ...args)) === 1,
    reindex: (keys, args) => commands.igReindexRun(keys.length, ...keys, ...args),
    hold: async (keys, args) => (await commands.igHoldRun(keys.length, ...keys, ...args)) === 1,
    remove: async (keys, args) => (await commands.igRemoveRun(keys.length, ...keys, ...args)) === 1,
    commit: async (keys, args) => (await commands.igCommitRun(keys.length, ...keys, ...args)) === 1,
  };
}
