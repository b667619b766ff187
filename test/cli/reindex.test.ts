import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createArchive } from '../../src/runs/archive.ts';
import { newRecord } from '../../src/runs/new-record.ts';
import { createRedisRunStore, type RedisRunStore } from '../../src/runs/redis-store.ts';
import { makeRunId } from '../../src/runs/run-id.ts';
import type { RunFilter } from '../../src/runs/store.ts';
import { makeTempFolder } from '../support/git-http.ts';
import { jobSpec, planOf, pushEvent } from '../support/plans.ts';
import { startProcess } from '../support/product.ts';
import { type TestRedis, startRedis } from '../support/redis.ts';

let redis: TestRedis;
let client: Redis;
let store: RedisRunStore;
let folder: Awaited<ReturnType<typeof makeTempFolder>>;
beforeAll(async () => {
  redis = await startRedis();
  folder = await makeTempFolder();
  client = new Redis({ path: redis.url.slice('unix://'.length) });
  store = createRedisRunStore(client, createArchive(join(folder.path, 'runs')));
});
afterAll(async () => {
  client.disconnect();
  await redis.stop();
  await folder.remove();
});

const REPOSITORIES = ['gitea/ann/app', 'gitea/ann/lib', 'github/bob/app'];
const BRANCHES = ['main', 'dev', undefined];
const STATES = ['succeeded', 'failed', 'errored'] as const;
const FILTERS: Omit<RunFilter, 'limit'>[] = [undefined, ...REPOSITORIES].flatMap((repository) =>
  [undefined, 'main', 'dev'].flatMap((branch) =>
    [undefined, ...STATES].map((state) => ({
      ...(repository === undefined ? {} : { repository }),
      ...(branch === undefined ? {} : { branch }),
      ...(state === undefined ? {} : { state }),
    })),
  ),
);

async function lists(): Promise<unknown[]> {
  const all: unknown[] = [];
  for (const filter of FILTERS) {
    const first = await store.list({ ...filter, limit: 5 });
    const rest = first.next === undefined ? undefined : await store.list({ ...filter, limit: 100, cursor: first.next });
    all.push({ filter, runs: [...first.runs, ...(rest?.runs ?? [])].map((run) => [run.id, run.number, run.state]) });
  }
  return all;
}

it('impgem reindex: the same lists and numbers after Redis lost everything', async () => {
  const archive = createArchive(join(folder.path, 'runs'));
  const plan = planOf(jobSpec('main'));
  for (let index = 0; index < 60; index++) {
    const createdAt = new Date(Date.parse('2026-01-01T00:00:00Z') + Math.floor(index / 2) * 1000).toISOString();
    const { branch: _, ...event } = pushEvent();
    const branch = BRANCHES[index % 3];
    const made = newRecord({
      id: makeRunId(createdAt, `run ${index}`),
      event: { ...event, repository: REPOSITORIES[index % 2] ?? '', ...(branch === undefined ? {} : { branch }) },
      sha: index.toString(16).padStart(40, '0'),
      message: '',
      author: '',
      plan,
      createdAt,
    });
    const state = STATES[index % 7 === 0 ? 1 : index % 11 === 0 ? 2 : 0];
    const { record } = await store.create({ ...made, state, endedAt: createdAt }, plan);
    await archive.write(record, plan);
    await store.settle(record.id, 10);
  }
  const before = await lists();
  const repositories = await store.repositories();
  // One file that is damaged does not keep the others from being listed.
  const damaged = makeRunId('2026-01-01T00:00:00Z', 'damaged');
  await writeFile(join(folder.path, 'runs', damaged.slice(0, 4), `${damaged}.json`), '{"id":');
  // Neither does what somebody put there, or a file that is JSON and no run.
  await writeFile(join(folder.path, 'runs/README.txt'), 'x');
  await mkdir(join(folder.path, 'runs', damaged.slice(0, 4), `${makeRunId('2026-01-01T00:00:00Z', 'folder')}.json`));
  const strange = makeRunId('2026-01-01T00:00:00Z', 'strange');
  await writeFile(join(folder.path, 'runs', strange.slice(0, 4), `${strange}.json`), '{}\n');
  await client.flushall();
  const reindex = startProcess('reindex', {
    PATH: process.env['PATH'] ?? '',
    REDIS_URL: redis.url,
    IMPGEM_DATA: folder.path,
  });
  expect(await reindex.said(/listed/)).toBe('60 runs are listed again');
  // It ends by itself.
  expect(await reindex.stop('SIGCONT')).toBe(0);
  expect(await lists()).toEqual(before);
  expect([...(await store.repositories())].sort()).toEqual([...repositories].sort());
  // Numbers go on where they were.
  const next = newRecord({
    id: makeRunId('2026-02-01T00:00:00Z', 'next'),
    event: { ...pushEvent(), repository: 'gitea/ann/app' },
    sha: 'f'.repeat(40),
    message: '',
    author: '',
    plan,
    createdAt: '2026-02-01T00:00:00Z',
  });
  expect((await store.create(next, plan)).record.number).toBe(31);
});
