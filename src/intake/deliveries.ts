/** Deliveries in Redis: seen once each, kept for two weeks, with what became of them. */
import type { Redis } from '../queue/connection.ts';
import type { ForgeName } from '../runs/event.ts';
import type { Delivery } from '../runs/run.ts';

const KEEP_SECONDS = 14 * 24 * 3600;
/** Each forge has ids of its own making: one of GitHub's says nothing of Gitea's, and who may sign for one not for the other. */
const key = ({ forge, id }: DeliveryName): string => `ig:delivery:${forge}:${id}`;
const FORGES: ForgeName[] = ['github', 'gitea'];

// Gives the number of the try (1 at first), negative when the delivery was taken before and did not fail.
const ACCEPT = `
local tries = redis.call('HGET', KEYS[1], 'tries')
if tries and redis.call('HGET', KEYS[1], 'state') ~= 'failed' then return -tonumber(tries) end
redis.call('HSET', KEYS[1], 'head', ARGV[1], 'state', 'queued', 'reason', '', 'runs', '[]', 'failures', 0)
redis.call('EXPIRE', KEYS[1], ${KEEP_SECONDS})
return redis.call('HINCRBY', KEYS[1], 'tries', 1)
`;

// One that was not taken has no try: what made us ignore it (IMPGEM_ALLOW_REPOSITORIES) may be set right until it comes again.
const IGNORE = `
if redis.call('HEXISTS', KEYS[1], 'tries') == 1 then return 0 end
redis.call('HSET', KEYS[1], 'head', ARGV[1], 'state', 'ignored', 'reason', ARGV[2], 'runs', '[]')
redis.call('EXPIRE', KEYS[1], ${KEEP_SECONDS})
return 1
`;

// Only the try that is under way may say how it ended.
const CONCLUDE = `
if redis.call('HGET', KEYS[1], 'tries') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[2], 'reason', ARGV[3], 'runs', ARGV[4])
return 1
`;

export type DeliveryName = Pick<Delivery, 'id' | 'forge'>;
export type DeliveryHead = Pick<Delivery, 'id' | 'forge' | 'event' | 'repository' | 'receivedAt'>;

/** The number of the try that is under way (1 at first), and whether it was there before. */
export interface Acceptance {
  tries: number;
  duplicate: boolean;
}

export interface DeliveryEnd {
  state: 'planned' | 'ignored' | 'failed';
  reason?: string;
  runs: string[];
}

export type KnownDelivery = Delivery & { tries: number };

export interface Deliveries {
  /** A redelivery of one that failed is no duplicate, and begins a new try. */
  accept(head: DeliveryHead): Promise<Acceptance>;
  /** Remembers one that is not taken, until it is. */
  ignore(head: DeliveryHead, reason: string): Promise<void>;
  /** No effect when another try has begun since. */
  conclude(name: DeliveryName, tries: number, end: DeliveryEnd): Promise<void>;
  /** Counts a planning of this try that failed; gives how many did. */
  countFailure(name: DeliveryName): Promise<number>;
  /** Without a forge: the latest of that id. */
  get(id: string, forge?: string): Promise<KnownDelivery | undefined>;
}

interface Commands {
  igAcceptDelivery(count: number, key: string, head: string): Promise<number>;
  igIgnoreDelivery(count: number, key: string, head: string, reason: string): Promise<number>;
  igConcludeDelivery(count: number, key: string, tries: number, ...end: string[]): Promise<number>;
}

export function createDeliveries(redis: Redis): Deliveries {
  redis.defineCommand('igAcceptDelivery', { lua: ACCEPT });
  redis.defineCommand('igIgnoreDelivery', { lua: IGNORE });
  redis.defineCommand('igConcludeDelivery', { lua: CONCLUDE });
  const commands = redis as unknown as Commands;
  const find = async (name: DeliveryName): Promise<KnownDelivery | undefined> => {
    const { head, state, reason, runs, tries } = await redis.hgetall(key(name));
    if (head === undefined) return undefined;
    return {
      ...(JSON.parse(head) as DeliveryHead),
      state: state as Delivery['state'],
      ...(reason ? { reason } : {}),
      runs: JSON.parse(runs ?? '[]') as string[],
      tries: Number(tries ?? 0),
    };
  };
  return {
    async accept(head) {
      const tries = await commands.igAcceptDelivery(1, key(head), JSON.stringify(head));
      return { tries: Math.abs(tries), duplicate: tries < 0 };
    },
    async ignore(head, reason) {
      await commands.igIgnoreDelivery(1, key(head), JSON.stringify(head), reason);
    },
    async conclude(name, tries, { state, reason, runs }) {
      await commands.igConcludeDelivery(1, key(name), tries, state, reason ?? '', JSON.stringify(runs));
    },
    countFailure: (name) => redis.hincrby(key(name), 'failures', 1),
    async get(id, forge) {
      const names = (forge === undefined ? FORGES : [forge]).map((name) => ({ forge: name, id }));
      const found = (await Promise.all(names.map(find))).filter((delivery) => delivery !== undefined);
      return found.toSorted((a, b) => b.receivedAt.localeCompare(a.receivedAt))[0];
    },
  };
}
