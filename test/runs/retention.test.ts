import { mkdir, readdir, rename, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createArtifactStore } from '../../src/artifacts/artifact-store.ts';
import { createLogStore } from '../../src/logs/log-store.ts';
import { createFeed } from '../../src/queue/feed.ts';
import { type Redis, connectRedis } from '../../src/queue/connection.ts';
import { createQueues } from '../../src/queue/queues.ts';
import { createTurns } from '../../src/queue/turns.ts';
import { type FileArchive, createArchive } from '../../src/runs/archive.ts';
import { createGroups } from '../../src/runs/groups.ts';
import { type Lifecycle, createLifecycle } from '../../src/runs/lifecycle.ts';
import { type RedisRunStore, createRedisRunStore } from '../../src/runs/redis-store.ts';
import { type Retention, createRetention } from '../../src/runs/retention.ts';
import type { RunRecord } from '../../src/runs/run.ts';
import { makeRunId } from '../../src/runs/run-id.ts';
import { createRunService } from '../../src/runs/run-service.ts';
import type { RunStore } from '../../src/runs/store.ts';
import { jobSpec, need, planOf, pushEvent } from '../support/plans.ts';
import { type TestRedis, startRedis } from '../support/redis.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const DAY = 24 * 3_600_000;
const TODAY = Date.parse('2026-06-01T00:00:00Z');
const fail = (message: string): void => {
  throw new Error(message);
};

let server: TestRedis;
let redis: Redis;
let folder: string;
let archive: FileArchive;
let store: RedisRunStore;
let lifecycle: Lifecycle;
let service: RunStore;
let logs: ReturnType<typeof createLogStore>;
let artifacts: ReturnType<typeof createArtifactStore>;
let removed: string[];
let errors: string[];
/** What the clock of the run's parts says. */
let clock: number;

beforeAll(async () => {
  server = await startRedis();
  redis = connectRedis(server.url, 'patient', fail);
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});
beforeEach(async () => {
  await redis.flushall();
  folder = await temporaryFolder();
  [removed, errors, clock] = [[], [], TODAY];
  archive = createArchive(join(folder, 'runs'));
  store = createRedisRunStore(redis, archive);
  logs = createLogStore(join(folder, 'logs'));
  artifacts = createArtifactStore(join(folder, 'artifacts'));
  const queues = createQueues(redis, fail);
  lifecycle = createLifecycle({
    store,
    queues,
    turns: createTurns(redis),
    groups: createGroups(redis),
    decideIf: () => true,
    maxLosses: 3,
    liveWorkers: () => Promise.resolve([]),
    archive: { write: (record, plan) => archive.write(record, plan), keep: 2, onEnd: () => undefined },
    statusContext: (record, job) => `${record.id}/${job?.id ?? ''}`,
    dueStatuses: () => Promise.resolve([]),
    onError: fail,
    now: () => new Date(clock),
  });
  service = createRunService({
    store,
    lifecycle,
    feed: createFeed(redis),
    delivery: () => Promise.resolve(undefined),
    keepResults: async (from, to, jobs) => {
      await Promise.all([artifacts.inherit(from, to, jobs), logs.inherit(from, to, jobs)]);
    },
    replan: () => Promise.resolve([]),
  });
  return async () => {
    await logs.dispose();
    await queues.close();
    expect(errors).toEqual([]);
  };
});

function retention(
  limits: { runs?: number; ageMs?: number } = {},
  parts: Partial<{ archive: FileArchive }> = {},
): Retention {
  return createRetention({
    store,
    archive: parts.archive ?? archive,
    belongings: { logs, artifacts },
    limits: { runs: 1000, ...limits },
    onRemoved: (kind, run) => void removed.push(`${kind} ${run}`),
    onError: (message) => void errors.push(message),
    now: () => TODAY,
  });
}

async function run(job: string, id: string, state: 'succeeded' | 'failed' = 'succeeded'): Promise<void> {
  await lifecycle.claim(id, job, 0, 'w1');
  const key = { run: id, job, attempt: 1, part: '0' };
  await logs.append(key, 0, Buffer.from(`${job} of ${id}\n`));
  await logs.close(key);
  await artifacts.put(id, job, { path: `${job}.txt` }, Readable.from([Buffer.from(`${job} of ${id}`)]));
  await lifecycle.end(id, job, 1, [], { state, outputs: { from: id }, infrastructure: false });
}

let serial = 0;
/** A run of two jobs that was made and ended so many days ago; `open`: its second job still waits. */
async function runOf(
  daysAgo: number,
  options: { open?: boolean; fails?: boolean; endedDaysAgo?: number } = {},
): Promise<RunRecord> {
  clock = TODAY - daysAgo * DAY;
  const createdAt = new Date(clock).toISOString();
  const { record } = await lifecycle.start({
    id: makeRunId(createdAt, `test ${serial++}`),
    event: pushEvent(),
    sha: 'b'.repeat(40),
    message: 'm',
    author: 'Ada',
    plan: planOf(jobSpec('build'), jobSpec('test', { needs: [need('build')] })),
    createdAt,
  });
  await run('build', record.id);
  clock = TODAY - (options.endedDaysAgo ?? daysAgo) * DAY;
  if (options.open !== true) await run('test', record.id, options.fails === true ? 'failed' : 'succeeded');
  clock = TODAY;
  return record;
}

/** What there is of a run anywhere. */
async function traces({ id }: RunRecord): Promise<string[]> {
  const keys = (await redis.keys('*')).filter((key) => !key.startsWith('ig:hold:'));
  const inRedis = await Promise.all(
    keys.map(
      async (key) => key.includes(id) || ((await redis.type(key)) === 'zset' && (await redis.zscore(key, id)) !== null),
    ),
  );
  const files = await readdir(folder, { recursive: true });
  return [...keys.filter((_, index) => inRedis[index]), ...files.filter((file) => file.includes(id))].filter(
    (one) => !one.startsWith('impgem:'),
  );
}
const listed = async (): Promise<string[]> => (await store.list({ limit: 100 })).runs.map(({ id }) => id);

describe('runs past their age', () => {
  it('go with all that is theirs, the others stay whole', async () => {
    const [old, young] = [await runOf(40), await runOf(20)];
    const before = await traces(young);
    expect(await retention({ ageMs: 30 * DAY }).sweep()).toBe(1);
    expect(removed).toEqual([`run ${old.id}`]);
    expect(await traces(old)).toEqual([]);
    expect(await traces(young)).toEqual(before);
    expect(await listed()).toEqual([young.id]);
    expect(await store.get(old.id)).toBeUndefined();
    // A second sweep finds nothing more to do.
    expect(await retention({ ageMs: 30 * DAY }).sweep()).toBe(0);
  });

  it('free the contents of their artifacts, but not those that another run names', async () => {
    const old = await runOf(40, { fails: true });
    const again = await service.rerun(old.id, { jobs: 'failed' });
    await redis.del(`ig:hold:${old.id}`);
    await retention({ ageMs: 30 * DAY }).sweep();
    expect(removed).toEqual([`run ${old.id}`]);
    const freed = await artifacts.sweep(Date.now() + DAY);
    expect(freed).toBe(`test of ${old.id}`.length);
    const { stream } = await artifacts.open(again.id, 'build', 'build.txt');
    expect(Buffer.concat(await stream.toArray()).toString()).toBe(`build of ${old.id}`);
  });

  it('count from their end, not from their beginning', async () => {
    await runOf(40, { endedDaysAgo: 10 });
    expect(await retention({ ageMs: 30 * DAY }).sweep()).toBe(0);
  });

  it('stay a day at least, so that their statuses go out', async () => {
    await runOf(0.5);
    expect(await retention({ ageMs: 1, runs: 0 }).sweep()).toBe(0);
  });

  it('stay as long as they are not over', async () => {
    const open = await runOf(40, { open: true });
    expect(await retention({ ageMs: 30 * DAY, runs: 0 }).sweep()).toBe(0);
    await run('test', open.id);
    expect(await store.get(open.id)).toMatchObject({ state: 'succeeded' });
  });
});

it('beyond the number that is kept the oldest go, without a limit of age none', async () => {
  const runs = [await runOf(50), await runOf(40), await runOf(30), await runOf(20)];
  expect(await retention().sweep()).toBe(0);
  expect(await retention({ runs: 3 }).sweep()).toBe(1);
  expect(await listed()).toEqual(
    runs
      .slice(1)
      .reverse()
      .map(({ id }) => id),
  );
});

describe('a re-run of what failed', () => {
  it('keeps outputs, artifacts and logs of the kept jobs when the old run is gone', async () => {
    const old = await runOf(40, { fails: true });
    const again = await service.rerun(old.id, { jobs: 'failed' });
    await redis.del(`ig:hold:${old.id}`);
    await retention({ ageMs: 30 * DAY }).sweep();
    expect(await traces(old)).toEqual([]);
    expect(await store.get(again.id)).toMatchObject({
      jobs: [
        { id: 'build', state: 'succeeded', outputs: { from: old.id } },
        { id: 'test', state: 'pending' },
      ],
    });
    const [key, ...others] = await logs.list(again.id);
    expect([key, others]).toEqual([{ run: again.id, job: 'build', attempt: 1, part: '0' }, []]);
    expect(key && (await logs.stat(key))).toEqual({ length: `build of ${old.id}\n`.length, closed: true });
    await run('test', again.id);
    expect(await store.get(again.id)).toMatchObject({ state: 'succeeded' });
  });

  it('is refused when nothing failed', async () => {
    const old = await runOf(2);
    const refused = service.rerun(old.id, { jobs: 'failed' });
    await expect(refused).rejects.toMatchObject({ code: 'nothing-failed', status: 409 });
  });

  it('that is being made keeps the old run', async () => {
    const old = await runOf(40, { fails: true });
    await service.rerun(old.id, { jobs: 'failed' });
    expect(await retention({ ageMs: 30 * DAY }).sweep()).toBe(0);
  });

  it('is not made of a run that is being removed', async () => {
    const old = await runOf(40, { fails: true });
    const record = await archive.record(old.id);
    expect(record && (await store.remove(record))).toBe(true);
    await expect(service.rerun(old.id, { jobs: 'failed' })).rejects.toMatchObject({ code: 'run-unknown', status: 404 });
  });
});

it('what a crash interrupted is removed by the next sweep', async () => {
  const old = await runOf(40);
  await runOf(1);
  const broken = { ...archive, remove: () => Promise.reject(new Error('the power is gone')) };
  expect(await retention({ ageMs: 30 * DAY }, { archive: broken }).sweep()).toBe(0);
  expect(errors.splice(0)).toEqual([`run ${old.id} could not be removed: the power is gone`]);
  expect(await retention({ ageMs: 30 * DAY }).sweep()).toBe(1);
  expect(await traces(old)).toEqual([]);
});

it('a list that is rebuilt from the archive shows what was kept, and no more', async () => {
  const [old, young] = [await runOf(40), await runOf(20)];
  await retention({ ageMs: 30 * DAY }).sweep();
  await redis.flushall();
  for await (const record of archive.all()) await store.reindex([record]);
  expect(await listed()).toEqual([young.id]);
  expect(await store.get(old.id)).toBeUndefined();
});

it('a list that is being rebuilt does not bring back what a sweep removes meanwhile', async () => {
  const [old, young] = [await runOf(40), await runOf(20)];
  const read: RunRecord[] = [];
  for await (const record of archive.all()) read.push(record);
  await retention({ ageMs: 30 * DAY }).sweep();
  await store.reindex(read);
  expect(await listed()).toEqual([young.id]);
  expect(await traces(old)).toEqual([]);
});

describe('logs and artifacts of no run', () => {
  const orphan = (daysAgo: number) => makeRunId(new Date(TODAY - daysAgo * DAY).toISOString(), `orphan ${daysAgo}`);
  const leave = async (id: string): Promise<void> => {
    await logs.append({ run: id, job: 'build', attempt: 1, part: '0' }, 0, Buffer.from('x'));
    await artifacts.put(id, 'build', { path: 'x' }, Readable.from([Buffer.from('x')]));
  };

  it('are removed when they are older than a day; what is no id of a run is left alone', async () => {
    const kept = await runOf(20);
    await Promise.all([
      leave(orphan(2)),
      leave(orphan(0.5)),
      mkdir(join(folder, 'logs/lost+found'), { recursive: true }),
    ]);
    await retention().sweep();
    expect(removed.sort()).toEqual([`artifacts ${orphan(2)}`, `logs ${orphan(2)}`]);
    expect((await logs.runs()).sort()).toEqual([kept.id, orphan(0.5), 'lost+found'].sort());
  });

  it('stay when the archive may only be out of sight', async () => {
    const [one] = [await runOf(20), await runOf(19), await runOf(18)];
    const empty = createArchive(join(folder, 'not-mounted'));
    await retention({}, { archive: empty }).sweep();
    // One that a restored archive does not have, but whose run the lists know.
    await archive.remove(one.id);
    await retention().sweep();
    expect(removed).toEqual([]);
  });

  it('stay when the part of the archive that their run is in cannot be read', async () => {
    const [old] = [await runOf(40), await runOf(20)];
    const part = join(folder, 'runs', old.id.slice(0, 4));
    await rename(part, `${part}.away`);
    await symlink(old.id.slice(0, 4), part);
    // Redis was lost, and the lists could not be rebuilt with it.
    await redis.flushall();
    const told: string[] = [];
    const archive = createArchive(join(folder, 'runs'), (message) => told.push(message));
    await retention({}, { archive }).sweep();
    expect(removed).toEqual([]);
    expect(told).toEqual([expect.stringContaining(`${part} cannot be read`)]);
  });
});
