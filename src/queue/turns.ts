/**
 * Whose turn it is: repositories take turns by start-time fair queueing, in each queue by itself: in those of jobs and
 * in that of events. An entry's turn is one more than the last of its repository, but never earlier than the turn being
 * served, so 10,000 of one repository stand in its own line and another's push goes next. BullMQ serves lower priorities
 * first, so the turn is the priority.
 */
import type { Redis } from './connection.ts';

/** A hash: the last turn of each repository, and under '' the one being served. */
export const turnsKey = (queue: string): string => `ig:turns:${queue}`;

/** BullMQ's priorities end at 2,097,151. */
export const LAST_TURN = 2_000_000;

// After the last one everybody starts at 1 again. What waits at that moment, once in some two million jobs, then goes after
// what comes later, until no more comes. The same when a queue stood still for a month.
const TAKE = `
local now = tonumber(redis.call('HGET', KEYS[1], '') or '1')
local last = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
local turn = math.max(now, last + 1)
if turn > ${LAST_TURN} then redis.call('DEL', KEYS[1]); turn = 1 end
redis.call('HSET', KEYS[1], ARGV[1], turn)
redis.call('EXPIRE', KEYS[1], 2592000)
return turn
`;
const SERVE = `
local now = tonumber(redis.call('HGET', KEYS[1], '') or '1')
local turn = tonumber(ARGV[1])
if turn > now and turn - now < 1000000 then
  redis.call('HSET', KEYS[1], '', turn)
  redis.call('EXPIRE', KEYS[1], 2592000)
end
return 0
`;
const GIVE_BACK = `
local now = tonumber(redis.call('HGET', KEYS[1], '') or '1')
local last = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
if last >= now then redis.call('HSET', KEYS[1], ARGV[1], last - 1) end
return 0
`;

export interface Turns {
  /** The turn of this repository's next entry in a queue: 1..2,000,000. */
  take(queue: string, repository: string): Promise<number>;
  /** An entry of this turn is being served. */
  serve(queue: string, turn: number): Promise<void>;
  /** An entry of this repository is not needed any more: who cancels 10,000 jobs does not wait for their turns to pass. */
  giveBack(queue: string, repository: string): Promise<void>;
}

type Command = (count: number, ...rest: (string | number)[]) => Promise<number>;

export function createTurns(redis: Redis): Turns {
  redis.defineCommand('igTakeTurn', { lua: TAKE });
  redis.defineCommand('igServeTurn', { lua: SERVE });
  redis.defineCommand('igGiveBackTurn', { lua: GIVE_BACK });
  const commands = redis as unknown as { igTakeTurn: Command; igServeTurn: Command; igGiveBackTurn: Command };
  return {
    take: (queue, repository) => commands.igTakeTurn(1, turnsKey(queue), repository),
    async serve(queue, turn) {
      await commands.igServeTurn(1, turnsKey(queue), turn);
    },
    async giveBack(queue, repository) {
      await commands.igGiveBackTurn(1, turnsKey(queue), repository);
    },
  };
}
