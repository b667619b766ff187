import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { type EventTurns, createEventTurns } from '../../src/queue/event-turns.ts';
import { EVENT_QUEUE } from '../../src/queue/queues.ts';
import { LAST_TURN, createTurns, turnsKey } from '../../src/queue/turns.ts';
import { type TestRedis, startRedis } from '../support/redis.ts';

let server: TestRedis;
let redis: Redis;
beforeAll(async () => {
  server = await startRedis();
  redis = new Redis({ path: server.url.slice('unix://'.length) });
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});
beforeEach(() => redis.flushall());

const take = async (turns: EventTurns, repository: string): Promise<number> => {
  const { turn, kept } = turns.take(repository);
  await kept;
  return turn;
};
const takeMany = async (turns: EventTurns, repository: string, count: number): Promise<number[]> => {
  const taken = Array.from({ length: count }, () => turns.take(repository));
  await Promise.all(taken.map(({ kept }) => kept));
  return taken.map(({ turn }) => turn);
};

it('each repository stands in a line of its own, also when its pushes come at once', async () => {
  const turns = createEventTurns(redis);
  expect(await takeMany(turns, 'big', 5)).toEqual([1, 2, 3, 4, 5]);
  expect(await take(turns, 'small')).toBe(1);
  await createTurns(redis).serve(EVENT_QUEUE, 4);
  // Heard of with the answer to the next.
  await take(turns, 'small');
  expect(await take(turns, 'new')).toBe(4);
  expect(await take(turns, 'small')).toBe(4);
  expect(await take(turns, 'big')).toBe(6);
});

it.each(['after a start', 'as another server took others'])('goes on from what Redis has: %s', async () => {
  await takeMany(createEventTurns(redis), 'big', 50);
  const other = createEventTurns(redis);
  // Not known before the first answer: it goes early.
  expect(await take(other, 'big')).toBe(1);
  expect(await take(other, 'big')).toBe(51);
});

it('starts at 1 again after the last turn, on all servers', async () => {
  const [one, two] = [createEventTurns(redis), createEventTurns(redis)];
  await redis.hset(turnsKey(EVENT_QUEUE), { '': LAST_TURN, big: LAST_TURN });
  await take(one, 'big');
  await take(two, 'big');
  expect(await takeMany(one, 'big', 2)).toEqual([1, 2]);
  expect(await take(one, 'other')).toBe(1);
  // It hears of it with the answer to its next.
  expect(await take(two, 'other')).toBe(LAST_TURN);
  expect(await takeMany(two, 'other', 2)).toEqual([1, 2]);
  await take(two, 'big');
  expect(await take(two, 'big')).toBe(3);
  expect(await redis.hgetall(turnsKey(EVENT_QUEUE))).toEqual({ big: '3', other: '2' });
});

it('what Redis did not take has no turn, however often it is tried', async () => {
  const turns = createEventTurns(redis);
  await takeMany(turns, 'big', 3);
  await redis.config('SET', 'maxmemory', '1');
  for (let tries = 0; tries < 3; tries++) {
    const taken = Array.from({ length: 5 }, () => turns.take('big'));
    for (const { status } of await Promise.allSettled(taken.map(({ kept }) => kept))) expect(status).toBe('rejected');
  }
  await redis.config('SET', 'maxmemory', '0');
  expect(await take(turns, 'big')).toBe(4);
});

it('forgets with Redis what was taken before', async () => {
  const turns = createEventTurns(redis);
  await takeMany(turns, 'big', 50);
  await createTurns(redis).serve(EVENT_QUEUE, 40);
  await take(turns, 'big');
  await redis.flushall();
  await take(turns, 'other');
  expect(await take(turns, 'big')).toBe(1);
});
