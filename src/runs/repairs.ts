/** What workers mended. They are asked for no metrics, so a server counts it when it is asked for its own. */
import type { Redis } from '../queue/connection.ts';

const UNCOUNTED = 'ig:repairs-uncounted';

const TAKE = `
local counts = redis.call('HGETALL', KEYS[1])
redis.call('DEL', KEYS[1])
return counts
`;

export interface Repairs {
  tell(kind: string, count: number): Promise<void>;
  /** What was told since it was taken last, by any server: pairs of kind and count. */
  take(): Promise<[kind: string, count: number][]>;
}

export function createRepairs(redis: Redis): Repairs {
  redis.defineCommand('igTakeRepairs', { lua: TAKE });
  const commands = redis as unknown as { igTakeRepairs(count: number, key: string): Promise<string[]> };
  return {
    async tell(kind, count) {
      await redis.hincrby(UNCOUNTED, kind, count);
    },
    async take() {
      const found = await commands.igTakeRepairs(1, UNCOUNTED);
      return found.flatMap((kind, index) => (index % 2 === 0 ? [[kind, Number(found[index + 1])]] : []));
    },
  };
}
