/**
 * Which pushes somebody told of, in Redis. A delivery and catch-up may come upon the same push, even at once: both then
 * name its runs alike, and the same name is the same run.
 */
import type { Redis } from '../queue/connection.ts';
import type { PipelineEvent } from '../runs/event.ts';

export type Push = Pick<PipelineEvent, 'repository' | 'ref' | 'sha'>;

/** What ids of runs are made of. */
export interface Naming {
  receivedAt: string;
  cause: string;
}

const KEEP_SECONDS = 14 * 24 * 3600;
/** A delivery that is later than this after catch-up found its push is of another push of the same commit. */
const LATE_SECONDS = 3600;
const key = ({ repository, ref, sha = '' }: Push): string => `ig:push:${repository}:${ref}:${sha}`;

// What catch-up found belongs to one delivery: the same commit pushed again runs again.
const TELL = `
local known = redis.call('HGET', KEYS[1], 'delivery')
if known and known ~= ARGV[1] then redis.call('HDEL', KEYS[1], 'found') end
redis.call('HSET', KEYS[1], 'delivery', ARGV[1])
redis.call('EXPIRE', KEYS[1], ${KEEP_SECONDS})
return 1
`;

const FIND = `
local delivery = redis.call('HGET', KEYS[1], 'delivery')
if delivery and delivery ~= ARGV[2] then return false end
redis.call('HDEL', KEYS[1], 'delivery')
redis.call('HSETNX', KEYS[1], 'found', ARGV[1])
redis.call('EXPIRE', KEYS[1], ${LATE_SECONDS})
return redis.call('HGET', KEYS[1], 'found')
`;

export interface Pushes {
  /** A delivery was taken that tells of this push. */
  tell(push: Push, delivery: string): Promise<void>;
  /** Id of the delivery that was taken last of those that tell of this push. */
  toldBy(push: Push): Promise<string | undefined>;
  /** Catch-up found it. Gives how to name its runs, or undefined when a delivery, other than `left`, tells of it. */
  find(push: Push, naming: Naming, left?: string): Promise<Naming | undefined>;
  /** How catch-up named the runs of this delivery's push, if it was there first. */
  foundAs(event: PipelineEvent): Promise<Naming | undefined>;
}

interface Commands {
  igTellPush(count: number, key: string, delivery: string): Promise<number>;
  igFindPush(count: number, key: string, naming: string, left: string): Promise<string | null>;
}

export function createPushes(redis: Redis): Pushes {
  redis.defineCommand('igTellPush', { lua: TELL });
  redis.defineCommand('igFindPush', { lua: FIND });
  const commands = redis as unknown as Commands;
  const parse = (text: string | null | undefined): Naming | undefined =>
    text ? (JSON.parse(text) as Naming) : undefined;
  return {
    async tell(push, delivery) {
      await commands.igTellPush(1, key(push), delivery);
    },
    toldBy: async (push) => (await redis.hget(key(push), 'delivery')) ?? undefined,
    find: async (push, naming, left = '') =>
      parse(await commands.igFindPush(1, key(push), JSON.stringify(naming), left)),
    async foundAs(event) {
      if (event.kind !== 'push' || event.delivery === undefined) return undefined;
      const [delivery, found] = await redis.hmget(key(event), 'delivery', 'found');
      return delivery === event.delivery ? parse(found) : undefined;
    },
  };
}
