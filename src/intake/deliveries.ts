/** Deliveries in Redis: seen once each, kept for two weeks, with what became of them. */
import type { Redis } from '../queue/connection.ts';
import type { Delivery } from '../runs/run.ts';

const KEEP_SECONDS = 14 * 24 * 3600;
const key = (id: string): string => `ig:delivery:${id}`;

// Gives the number of the try (1 at first), or 0 when the delivery was seen and did not fail.
const ACCEPT = `
local state = redis.call('HGET', KEYS[1], 'state')
if state and state ~= 'failed' then return 0 end
redis.call('HSET', KEYS[1], 'head', ARGV[1], 'state', ARGV[2], 'reason', ARGV[3], 'runs', '[]')
redis.call('EXPIRE', KEYS[1], ${KEEP_SECONDS})
return redis.call('HINCRBY', KEYS[1], 'tries', 1)
`;

export type DeliveryHead = Pick<Delivery, 'id' | 'forge' | 'event' | 'repository' | 'receivedAt'>;

export interface Deliveries {
  /** Gives the number of the try, or 0 for a duplicate. A redelivery of one that failed is no duplicate. */
  accept(head: DeliveryHead): Promise<number>;
  /** Remembers one that leads to nothing. */
  ignore(head: DeliveryHead, reason: string): Promise<void>;
  conclude(
    id: string,
    end: { state: 'planned' | 'ignored' | 'failed'; reason?: string; runs: string[] },
  ): Promise<void>;
  get(id: string): Promise<Delivery | undefined>;
}

type Accept = (count: number, key: string, head: string, state: string, reason: string) => Promise<number>;

export function createDeliveries(redis: Redis): Deliveries {
  redis.defineCommand('igAcceptDelivery', { lua: ACCEPT });
  const { igAcceptDelivery } = redis as unknown as { igAcceptDelivery: Accept };
  const accept = igAcceptDelivery.bind(redis);
  return {
    accept: (head) => accept(1, key(head.id), JSON.stringify(head), 'queued', ''),
    async ignore(head, reason) {
      await accept(1, key(head.id), JSON.stringify(head), 'ignored', reason);
    },
    async conclude(id, { state, reason, runs }) {
      await redis.hset(key(id), { state, reason: reason ?? '', runs: JSON.stringify(runs) });
    },
    async get(id) {
      const { head, state, reason, runs } = await redis.hgetall(key(id));
      if (head === undefined) return undefined;
      return {
        ...(JSON.parse(head) as DeliveryHead),
        state: state as Delivery['state'],
        ...(reason ? { reason } : {}),
        runs: JSON.parse(runs ?? '[]') as string[],
      };
    },
  };
}
