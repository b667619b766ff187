/**
 * Job queues with labels, by when they were last put into: workers pick theirs from it. Labels are whatever pipelines
 * say, so a queue that is empty and that nobody used for long is forgotten with all its keys.
 */
import type { Redis } from './connection.ts';

/** Names of queues that something was put into are told on this channel. */
export const LABEL_QUEUES_CHANNEL = 'ig:label-queues';
const BY_USE = 'ig:label-queues:by-use';
const UNUSED_MS = 24 * 3_600_000;
const NOW = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`;

// KEYS: by use. ARGV: name, channel.
const USE = `${NOW}
if redis.call('ZADD', KEYS[1], now, ARGV[1]) == 1 or ARGV[2] ~= '' then redis.call('PUBLISH', '${LABEL_QUEUES_CHANNEL}', ARGV[1]) end
return 0
`;

/**
 * KEYS: by use. ARGV: ms, prefix of the queues. What is put in is remembered first, so a queue that is old here and empty
 * stays so while this script runs. What failed in it had its end recorded elsewhere.
 */
const FORGET = `${NOW}
local gone = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[1]), 'LIMIT', 0, 1000)) do
  local key = ARGV[2] .. ':' .. name .. ':'
  local count = 0
  for _, list in ipairs({'wait', 'active', 'paused'}) do count = count + redis.call('LLEN', key .. list) end
  for _, set in ipairs({'prioritized', 'delayed'}) do count = count + redis.call('ZCARD', key .. set) end
  if count == 0 then
    for _, id in ipairs(redis.call('ZRANGE', key .. 'failed', 0, -1)) do redis.call('DEL', key .. id) end
    for _, rest in ipairs({'wait', 'active', 'paused', 'prioritized', 'delayed', 'failed', 'completed', 'stalled',
      'stalled-check', 'marker', 'pc', 'meta', 'id', 'events', 'limiter'}) do redis.call('DEL', key .. rest) end
    redis.call('ZREM', KEYS[1], name)
    gone[#gone + 1] = name
  end
end
return gone
`;

export interface LabelQueues {
  /** Something is about to be put in: to be called before. */
  use(name: string): Promise<void>;
  /** Something waits in it: it must be known, but no worker need be told again that knows it. */
  keep(name: string): Promise<void>;
  all(): Promise<string[]>;
  /** Gives the names of those that are no more. */
  forgetUnused(unusedMs?: number): Promise<string[]>;
}

interface Commands {
  igUseLabelQueue(count: number, key: string, name: string, always: string): Promise<number>;
  igForgetLabelQueues(count: number, key: string, ms: number, prefix: string): Promise<string[]>;
}

/** `prefix`: what the keys of queues begin with. */
export function createLabelQueues(redis: Redis, prefix: string): LabelQueues {
  redis.defineCommand('igUseLabelQueue', { lua: USE });
  redis.defineCommand('igForgetLabelQueues', { lua: FORGET });
  const commands = redis as unknown as Commands;
  return {
    async use(name) {
      await commands.igUseLabelQueue(1, BY_USE, name, 'always');
    },
    async keep(name) {
      await commands.igUseLabelQueue(1, BY_USE, name, '');
    },
    all: () => redis.zrange(BY_USE, 0, '-1'),
    forgetUnused: (unusedMs = UNUSED_MS) => commands.igForgetLabelQueues(1, BY_USE, unusedMs, prefix),
  };
}
