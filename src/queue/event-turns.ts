/**
 * The turns of pushes that wait to be planned, as in turns.ts, but known ahead: a webhook's answer has no room for one more
 * wait for Redis. The turn is worked out from what this server last heard, and Redis, which is told of it beside the
 * delivery's other writes, says what the other servers made of it since. A turn that came out too early, after a start or
 * as two servers took deliveries of one repository at once, costs a place in the order and nothing else.
 */
import type { Redis } from './connection.ts';
import { EVENT_QUEUE } from './queues.ts';
import { LAST_TURN, turnsKey } from './turns.ts';

// ARGV: repository, its turn, '1' to start again. Gives the turn being served and the last of the repository. A turn that
// is far ahead is of a server that has not heard yet that all start again.
const KEEP = `
if ARGV[3] == '1' then redis.call('DEL', KEYS[1]) end
local now = tonumber(redis.call('HGET', KEYS[1], '') or '1')
local last = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
local turn = tonumber(ARGV[2])
if turn > last and turn - now < ${LAST_TURN / 2} then
  redis.call('HSET', KEYS[1], ARGV[1], turn)
  redis.call('EXPIRE', KEYS[1], 2592000)
  last = turn
end
return {now, last}
`;

/** Repositories in memory; those whose turn has passed need no place there. */
const MOST = 10_000;

export interface EventTurns {
  /** The turn of this repository's next event, at once; `kept` settles when Redis has it. */
  take(repository: string): { turn: number; kept: Promise<void> };
}

interface Commands {
  igKeepTurn(count: number, key: string, repository: string, turn: number, reset: string): Promise<[number, number]>;
}

export function createEventTurns(redis: Redis): EventTurns {
  redis.defineCommand('igKeepTurn', { lua: KEEP });
  const commands = redis as unknown as Commands;
  const last = new Map<string, number>();
  let now = 1;
  const forgetPassed = (): void => {
    for (const [repository, turn] of last) if (turn < now) last.delete(repository);
  };
  const keep = async (repository: string, turn: number, reset: boolean): Promise<void> => {
    let answer: [number, number];
    try {
      answer = await commands.igKeepTurn(1, turnsKey(EVENT_QUEUE), repository, turn, reset ? '1' : '');
    } catch (error) {
      // Its event is not in the queue, and takes a turn again when the journal is replayed: every second, maybe for hours.
      last.set(repository, Math.min(turn - 1, last.get(repository) ?? 0));
      throw error;
    }
    const [serving, taken] = answer;
    // Another server started again at 1, or Redis lost what it had.
    if (serving < now) last.clear();
    else last.set(repository, Math.max(taken, last.get(repository) ?? 0));
    now = serving;
    if (last.size > MOST) forgetPassed();
  };
  return {
    take(repository) {
      let turn = Math.max(now, (last.get(repository) ?? 0) + 1);
      const reset = turn > LAST_TURN;
      if (reset) {
        last.clear();
        now = turn = 1;
      }
      last.set(repository, turn);
      return { turn, kept: keep(repository, turn, reset) };
    },
  };
}
