import { afterAll, beforeAll, expect, test } from 'vitest';
import { connectRedis, isRedisAway, type Redis } from '../../src/queue/connection.ts';
import { createMemoryRunStore } from '../support/memory-run-store.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { startTestServer, type TestServer } from '../support/test-server.ts';

let redis: TestRedis;
let quick: Redis;
let server: TestServer;

beforeAll(async () => {
  redis = await startRedis();
  quick = connectRedis(redis.url, 'fail-fast', () => undefined);
  const list = async () => {
    await quick.hgetall('run');
    return { runs: [] };
  };
  server = await startTestServer({ runs: { ...createMemoryRunStore(), list } });
});
afterAll(async () => {
  quick.disconnect();
  await server.close();
  await redis.stop();
});

const status = async () => (await server.get('/api/runs')).status;

test('a Redis that is away is a 503 that says so, without a stack in the log, until it is back', async () => {
  await expect.poll(status).toBe(200);
  await redis.kill();
  const answer = await server.get('/api/runs');
  expect(answer.status).toBe(503);
  expect(answer.headers.get('retry-after')).toBe('5');
  expect(await answer.json()).toMatchObject({ code: 'redis-away', detail: 'Redis does not answer; try again soon.' });
  expect(server.logged.join('')).toMatch(/"code":"redis-away"/);
  expect(server.logged.join('')).not.toMatch(/stack|node_modules/);
  await redis.start();
  await expect.poll(status, { timeout: 10_000 }).toBe(200);
});

test('a Redis that is stopped, not gone, is away as well', async () => {
  await expect.poll(status).toBe(200);
  process.kill(redis.pid(), 'SIGSTOP');
  try {
    expect(await status()).toBe(503);
  } finally {
    process.kill(redis.pid(), 'SIGCONT');
  }
  await expect.poll(status, { timeout: 10_000 }).toBe(200);
});

test('what Redis answers, and what has nothing to do with it, is not "away"', async () => {
  await quick.set('text', 'x');
  const wrongType: unknown = await quick.hgetall('text').catch((error: unknown) => error);
  expect(isRedisAway(wrongType)).toBe(false);
  const noFile = Object.assign(new Error('ENOENT'), { code: 'ENOENT', syscall: 'open' });
  expect(isRedisAway(noFile)).toBe(false);
  expect(isRedisAway(new TypeError('x is not a function'))).toBe(false);
});
