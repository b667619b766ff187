import { execa } from 'execa';
import { Redis } from 'ioredis';
import { hostname } from 'node:os';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createWorkers, type WorkerEntry, type Workers } from '../../src/runs/workers.ts';
import { type TestRedis, startRedis } from '../support/redis.ts';

let redis: TestRedis;
let client: Redis;
let workers: Workers;
beforeAll(async () => {
  redis = await startRedis();
  client = new Redis({ path: redis.url.slice('unix://'.length) });
  workers = createWorkers(client);
});
afterAll(async () => {
  client.disconnect();
  await redis.stop();
});

const check = async (): Promise<{ exitCode: number | undefined; all: string }> => {
  const env = { REDIS_URL: redis.url, IMPGEM_WORKER_NAME: 'w1', IMPGEM_LOG_LEVEL: 'error' };
  const { exitCode, all } = await execa(process.execPath, ['dist/impgem.js', 'worker', '--check'], {
    env,
    reject: false,
    all: true,
  });
  return { exitCode, all };
};

it('is well while its worker says that it lives, on this machine, and not without Redis', async () => {
  const silent = { exitCode: 3, all: 'impgem: Nothing was heard of worker w1 of this machine for 15 s' };
  expect(await check()).toEqual(silent);
  const entry: WorkerEntry = { name: 'w1', labels: [], host: 'elsewhere', pid: 1, start: '1' };
  await workers.beat(entry);
  expect(await check()).toEqual(silent);
  await workers.beat({ ...entry, host: hostname() });
  expect(await check()).toEqual({ exitCode: 0, all: 'worker w1 lives' });
  await workers.beat({ ...entry, host: hostname(), paused: 'told to drain' });
  expect(await check()).toEqual({ exitCode: 0, all: 'worker w1 lives, and takes no job: told to drain' });
  client.disconnect();
  await redis.kill();
  expect(await check()).toMatchObject({ exitCode: 3, all: expect.stringContaining('Redis did not answer') });
});
