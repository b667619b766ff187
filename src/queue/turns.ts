/**
 * Whose turn it is: repositories take turns by start-time fair queueing. A ticket's turn is one more than the last of
 * its repository, but never earlier than the turn being served, so 10,000 jobs of one repository stand in its own line
 * and another's push goes next. BullMQ serves lower priorities first, so the turn is the priority.
 */
import type { Redis } from './connection.ts';

const NOW = 'ig:turn:now';
const LAST = 'ig:turn:last';

// BullMQ's priorities end at 2,097,151; before that everybody starts at 1 again. What waits at that moment, once in some two
// million jobs, then goes after what comes later, until no more comes.
const TAKE = `
local now = tonumber(redis.call('GET', KEYS[1]) or '1')
local last = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0')
local turn = math.max(now, last + 1)
if turn > 2000000 then redis.call('DEL', KEYS[1], KEYS[2]); turn = 1 end
redis.call('HSET', KEYS[2], ARGV[1], turn)
return turn
`;
const SERVE = `
local now = tonumber(redis.call('GET', KEYS[1]) or '1')
local turn = tonumber(ARGV[1])
if turn > now and turn - now < 1000000 then redis.call('SET', KEYS[1], turn) end
return 0
`;

export interface Turns {
  /** The turn of this repository's next ticket: 1..2,000,000. */
  take(repository: string): Promise<number>;
  /** A ticket of this turn is being served. */
  serve(turn: number): Promise<void>;
}

type Command = (count: number, ...rest: (string | number)[]) => Promise<number>;

export function createTurns(redis: Redis): Turns {
  redis.defineCommand('igTakeTurn', { lua: TAKE });
  redis.defineCommand('igServeTurn', { lua: SERVE });
  const commands = redis as unknown as { igTakeTurn: Command; igServeTurn: Command };
  return {
    take: (repository) => commands.igTakeTurn(2, NOW, LAST, repository),
    async serve(turn) {
      await commands.igServeTurn(1, NOW, turn);
    },
  };
}
