import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Redis, connectRedis } from '../../src/queue/connection.ts';
import { type TicketPayload, consume, createQueues, jobQueueName } from '../../src/queue/queues.ts';
import { createTurns } from '../../src/queue/turns.ts';
import { type FileArchive, createArchive } from '../../src/runs/archive.ts';
import { createGroups } from '../../src/runs/groups.ts';
import { createLeases } from '../../src/runs/leases.ts';
import { type Lifecycle, createLifecycle } from '../../src/runs/lifecycle.ts';
import { createWorkers } from '../../src/runs/workers.ts';
import { type RedisRunStore, createRedisRunStore } from '../../src/runs/redis-store.ts';
import { rerunOf } from '../../src/runs/rerun.ts';
import { makeRunId } from '../../src/runs/run-id.ts';
import type { NewRun } from '../../src/runs/store.ts';
import type { Plan } from '../../src/runs/plan.ts';
import { jobSpec, need, planOf, pushEvent } from '../support/plans.ts';
import { type TestRedis, startRedis } from '../support/redis.ts';

const fail = (message: string): void => {
  throw new Error(message);
};
const succeeded = { state: 'succeeded' as const, outputs: {}, infrastructure: false };

let server: TestRedis;
let redis: Redis;
let folder: string;
let archive: FileArchive;
let store: RedisRunStore;
let lifecycle: Lifecycle;
let queues: ReturnType<typeof createQueues>;
let ended: string[];
let statuses: { line: string; job: string }[];

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
  folder = await mkdtemp(join(tmpdir(), 'impgem-runs-'));
  archive = createArchive(folder);
  store = createRedisRunStore(redis, archive);
  const real = createQueues(redis, fail);
  statuses = [];
  ended = [];
  queues = { ...real, addStatus: (line, { job }) => Promise.resolve(void statuses.push({ line, job })) };
  lifecycle = createLifecycle({
    store,
    queues,
    turns: createTurns(redis),
    groups: createGroups(redis),
    decideIf: () => true,
    maxLosses: 3,
    liveWorkers: () => createWorkers(redis).live(),
    archive: {
      write: (record, plan) => archive.write(record, plan),
      keep: 3,
      onEnd: ({ id }) => ended.push(id),
    },
    statusContext: (record, job) => `${record.id}/${job?.id ?? ''}`,
    dueStatuses: () => Promise.resolve([]),
    onError: fail,
  });
  return async () => {
    await real.close();
    await rm(folder, { recursive: true, force: true });
  };
});

let serial = 0;
function newRun(plan: Plan, more: Partial<NewRun> & { repository?: string; branch?: string } = {}): NewRun {
  const createdAt = new Date(Date.parse('2026-01-01T00:00:00Z') + serial++).toISOString();
  const { repository = 'gitea/gem/tools', branch = 'main', ...rest } = more;
  return {
    id: makeRunId(createdAt, `test ${serial}`),
    event: pushEvent({ repository, branch, ref: `refs/heads/${branch}` }),
    sha: 'b'.repeat(40),
    message: 'm',
    author: 'Ada',
    plan,
    createdAt,
    ...rest,
  };
}

describe('runs in Redis', () => {
  it('creates a run once, however often and at once it is asked to', async () => {
    const run = newRun(planOf(jobSpec('a')));
    const made = await Promise.all(Array.from({ length: 8 }, () => lifecycle.start(run)));
    expect(made.filter((one) => one.created)).toHaveLength(1);
    expect(new Set(made.map((one) => one.record.number))).toEqual(new Set([1]));
    expect(await queues.counts()).toMatchObject({ jobs: { prioritized: 1 } });
    expect(await store.get(run.id)).toMatchObject({
      id: run.id,
      number: 1,
      state: 'pending',
      repository: 'gitea/gem/tools',
    });
  });

  it('counts the runs of each repository', async () => {
    const numbers: number[] = [];
    for (const repository of ['gitea/gem/a', 'gitea/gem/b', 'gitea/gem/a', 'gitea/gem/a'])
      numbers.push((await lifecycle.start(newRun(planOf(jobSpec('x')), { repository }))).record.number);
    expect(numbers).toEqual([1, 1, 2, 3]);
  });

  it('hands a ticket to one of many workers', async () => {
    const run = newRun(planOf(jobSpec('a')));
    await lifecycle.start(run);
    const claims = await Promise.all(
      Array.from({ length: 8 }, (_, index) => lifecycle.claim(run.id, 'a', 0, `w${index}`)),
    );
    expect(claims.filter(Boolean)).toHaveLength(1);
  });

  it('fences a worker that lost its job, and the next attempt goes on', async () => {
    const run = newRun(planOf(jobSpec('a'), jobSpec('b', { needs: [need('a')] })));
    await lifecycle.start(run);
    await lifecycle.claim(run.id, 'a', 0, 'w1');
    expect(await lifecycle.release(run.id, 'a', 1, { counts: true, reason: 'worker w1 was lost' })).toBe(true);
    expect(await lifecycle.reportSteps(run.id, 'a', 1, [{ index: 0, change: { state: 'running' } }])).toBe(false);
    expect(await lifecycle.end(run.id, 'a', 1, [], succeeded)).toBe(false);
    await lifecycle.claim(run.id, 'a', 2, 'w2');
    expect(
      await lifecycle.end(run.id, 'a', 3, [{ index: 0, change: { state: 'succeeded', exitCode: 0 } }], succeeded),
    ).toBe(true);
    await lifecycle.claim(run.id, 'b', 0, 'w2');
    await lifecycle.end(run.id, 'b', 1, [], succeeded);
    expect(await store.get(run.id)).toMatchObject({
      state: 'succeeded',
      jobs: [{ state: 'succeeded', steps: [{ state: 'succeeded' }] }, { state: 'succeeded' }],
    });
    expect(await store.active()).toEqual([]);
  });

  it('mends a run whose ticket was never queued', async () => {
    const run = newRun(planOf(jobSpec('a')));
    await lifecycle.start(run);
    for (const key of await redis.keys('impgem:jobs:*')) await redis.del(key);
    expect(await lifecycle.tend(run.id)).toEqual([{ what: 'its ticket was not queued', job: 'a' }]);
    expect(await queues.counts()).toMatchObject({ jobs: { prioritized: 1 } });
    expect(await lifecycle.tend(run.id)).toEqual([]);
  });

  it('tells the end of a run once, however many servers archive it', async () => {
    const run = newRun(planOf(jobSpec('a')));
    await lifecycle.start(run);
    await lifecycle.claim(run.id, 'a', 0, 'w1');
    await lifecycle.end(run.id, 'a', 1, [], succeeded);
    await Promise.all([lifecycle.conclude(run.id), lifecycle.conclude(run.id), lifecycle.tend(run.id)]);
    expect(ended).toEqual([run.id]);
  });

  it('tells the workers of a cancel while something of the run may be going on, though no worker has it', async () => {
    const [waiting, lost] = [newRun(planOf(jobSpec('a'))), newRun(planOf(jobSpec('a')))];
    for (const run of [waiting, lost]) await lifecycle.start(run);
    await lifecycle.claim(lost.id, 'a', 0, 'w1');
    await lifecycle.release(lost.id, 'a', 1, { counts: true, reason: 'worker w1 was lost' });
    const subscriber = connectRedis(server.url, 'patient', fail);
    await subscriber.subscribe('ig:cancel');
    const told = once(subscriber, 'message');
    for (const run of [waiting, lost]) await lifecycle.cancel(run.id, 'cancelled by a person');
    expect(await told).toEqual(['ig:cancel', lost.id]);
    expect(await store.get(lost.id)).toMatchObject({ state: 'cancelled' });
    subscriber.disconnect();
  });

  it('keeps few finished runs hot and reads the others from the archive, the same', async () => {
    const ids: string[] = [];
    for (let count = 0; count < 6; count++) {
      const run = newRun(planOf(jobSpec('a')));
      ids.push(run.id);
      await lifecycle.start(run);
      await lifecycle.claim(run.id, 'a', 0, 'w');
      await lifecycle.end(run.id, 'a', 1, [], succeeded);
    }
    expect(await redis.keys('ig:run:*')).toHaveLength(3);
    expect(await store.get(ids[0]!)).toMatchObject({ id: ids[0], number: 1, state: 'succeeded' });
    expect(await store.plan(ids[0]!)).toMatchObject({ jobs: [{ id: 'a' }] });
    const { runs } = await store.list({ limit: 10 });
    expect(runs.map((run) => run.id)).toEqual([...ids].reverse());
  });

  it('does not make a run anew that has left Redis for the archive', async () => {
    const first = newRun(planOf(jobSpec('a')));
    for (const run of [first, ...Array.from({ length: 4 }, () => newRun(planOf(jobSpec('a'))))]) {
      await lifecycle.start(run);
      await lifecycle.claim(run.id, 'a', 0, 'w');
      await lifecycle.end(run.id, 'a', 1, [], succeeded);
    }
    const before = await archive.record(first.id);
    const hot = await redis.keys('ig:run:*');
    expect(hot).not.toContain(`ig:run:${first.id}`);
    // A delivery that comes late, of a push that catch-up found.
    expect(await lifecycle.start({ ...first, message: 'other' })).toEqual({ record: before, created: false });
    expect(await archive.record(first.id)).toEqual(before);
    expect(await store.active()).toEqual([]);
    expect((await redis.keys('ig:run:*')).sort()).toEqual(hot.sort());
    expect((await lifecycle.start(newRun(planOf(jobSpec('a'))))).record.number).toBe(6);
  });

  it('lists newest first by any filter, page by page, without gap or double', async () => {
    for (let count = 0; count < 25; count++)
      await lifecycle.start(
        newRun(planOf(jobSpec('a')), {
          repository: count % 2 ? 'gitea/gem/one' : 'gitea/gem/two',
          branch: count % 3 ? 'main' : 'dev',
        }),
      );
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await store.list({
        repository: 'gitea/gem/one',
        branch: 'main',
        state: 'pending',
        limit: 3,
        ...(cursor ? { cursor } : {}),
      });
      expect(page.runs.length).toBeLessThanOrEqual(3);
      seen.push(...page.runs.map((run) => run.id));
      cursor = page.next;
    } while (cursor);
    expect(seen).toHaveLength(8);
    expect(seen).toEqual([...seen].sort().reverse());
    await expect(store.list({ limit: 3, cursor: 'nonsense' })).rejects.toMatchObject({
      code: 'cursor-invalid',
      status: 400,
    });
  });

  it('cancels what waits at once', async () => {
    const run = newRun(planOf(jobSpec('a')));
    await lifecycle.start(run);
    expect(await lifecycle.cancel(run.id, 'cancelled by a user')).toBe(true);
    expect(await store.get(run.id)).toMatchObject({ state: 'cancelled', reason: 'cancelled by a user' });
    expect(await lifecycle.cancel(run.id, 'again')).toBe(false);
    expect(await lifecycle.cancel('00000000r00000000000', 'x')).toBeUndefined();
    expect(statuses.length).toBeGreaterThan(0);
  });
});

describe('concurrency groups', () => {
  const grouped = (mode: 'cancel' | 'queue' | 'latest'): Plan =>
    planOf(jobSpec('deploy', { concurrency: { group: 'prod', mode } }));
  const launch = async (plan: Plan): Promise<string> => (await lifecycle.start(newRun(plan))).record.id;
  const stateOf = async (id: string): Promise<string> => {
    const run = await store.get(id);
    const waits = run!.jobs[0]!.waitingFor;
    return `${run!.state}${run!.reason ? ` ${run!.reason}` : ''}${waits ? ` (${waits})` : ''}`;
  };
  const finish = async (id: string): Promise<void> => {
    expect(await lifecycle.claim(id, 'deploy', 0, 'w')).toBeDefined();
    await lifecycle.end(id, 'deploy', 1, [], succeeded);
  };

  it('queue: one after the other', async () => {
    const [a, b, c] = [await launch(grouped('queue')), await launch(grouped('queue')), await launch(grouped('queue'))];
    expect(await stateOf(b)).toBe('pending (concurrency group prod)');
    expect(await lifecycle.claim(b, 'deploy', 0, 'w')).toBeUndefined();
    await finish(a);
    expect(await stateOf(b)).toBe('pending (a worker)');
    expect(await stateOf(c)).toBe('pending (concurrency group prod)');
    await finish(b);
    await finish(c);
    expect(await stateOf(c)).toBe('succeeded');
  });

  it('latest: what waits gives way to what is newer, what runs goes on', async () => {
    const a = await launch(grouped('latest'));
    await lifecycle.claim(a, 'deploy', 0, 'w');
    const b = await launch(grouped('latest'));
    const c = await launch(grouped('latest'));
    expect(await stateOf(b)).toBe('cancelled superseded');
    await lifecycle.end(a, 'deploy', 1, [], succeeded);
    expect(await stateOf(a)).toBe('succeeded');
    await finish(c);
  });

  it('cancel: what runs is asked to end, and the newer one waits until it has', async () => {
    const a = await launch(grouped('cancel'));
    await lifecycle.claim(a, 'deploy', 0, 'w');
    const b = await launch(grouped('cancel'));
    expect((await store.get(a))!.control['deploy']!.cancelRequested).toBe('superseded');
    expect(await stateOf(b)).toBe('pending (concurrency group prod)');
    await lifecycle.end(a, 'deploy', 1, [], { state: 'failed', outputs: {}, infrastructure: false });
    expect(await stateOf(a)).toBe('cancelled superseded');
    await finish(b);
  });

  it('cancel: a re-run ends no run of another pipeline of its event, but an older one of its own', async () => {
    const of = (pipeline: string): Plan => ({ ...grouped('cancel'), pipeline });
    const one = newRun(of('one'));
    const { record } = await lifecycle.start(one);
    await finish(record.id);
    const beside = (await lifecycle.start({ ...newRun(of('two')), event: one.event })).record.id;
    const again = async (): Promise<string> => {
      const old = (await store.get(record.id))!;
      const rerun = rerunOf(old, of('one'), { jobs: 'all' }, new Date(Date.now() + 1000).toISOString());
      return (await lifecycle.launch(rerun.record, of('one'))).record.id;
    };
    const first = await again();
    expect(await stateOf(beside)).toBe('pending (a worker)');
    expect(await stateOf(first)).toBe('pending (concurrency group prod)');
    await delay(2);
    const second = await again();
    expect(await stateOf(first)).toBe('cancelled superseded');
    expect(await stateOf(beside)).toBe('pending (a worker)');
    await finish(beside);
    await finish(second);
  });

  describe('an older run that comes to the group after a newer one', () => {
    const afterTests = (mode: 'cancel' | 'latest'): Plan =>
      planOf(jobSpec('tests'), jobSpec('deploy', { needs: [need('tests')], concurrency: { group: 'prod', mode } }));
    const end = async (id: string, job: string): Promise<void> => {
      await lifecycle.claim(id, job, 0, 'w');
      await lifecycle.end(id, job, 1, [], succeeded);
    };
    const deployOf = async (id: string): Promise<string> => {
      const { state, reason } = (await store.get(id))!.jobs[1]!;
      return reason === undefined ? state : `${state} ${reason}`;
    };

    it.each(['cancel', 'latest'] as const)('%s: ends itself, the newer one goes on', async (mode) => {
      const [older, newer] = [await launch(afterTests(mode)), await launch(afterTests(mode))];
      await end(newer, 'tests');
      await lifecycle.claim(newer, 'deploy', 0, 'w');
      await end(older, 'tests');
      expect(await deployOf(older)).toBe('cancelled superseded');
      expect((await store.get(newer))!.control['deploy']!.cancelRequested).toBeUndefined();
      await lifecycle.end(newer, 'deploy', 1, [], succeeded);
      expect(await stateOf(newer)).toBe('succeeded');
    });

    it('latest: gives way to a newer one that waits as well', async () => {
      const runs = [await launch(afterTests('latest')), await launch(afterTests('latest'))];
      const [older, newer] = [runs[0]!, runs[1]!];
      const first = newRun(afterTests('latest'));
      const holder = (await lifecycle.start({ ...first, id: makeRunId('2025-01-01T00:00:00Z', 'holder') })).record.id;
      for (const id of [holder, newer, older]) await end(id, 'tests');
      expect(await deployOf(older)).toBe('cancelled superseded');
      await end(holder, 'deploy');
      expect(await lifecycle.claim(newer, 'deploy', 0, 'w')).toBeDefined();
    });

    it('of a pipeline: ends itself when it was planned last', async () => {
      const plan: Plan = { ...planOf(jobSpec('deploy')), concurrency: { group: 'all', mode: 'cancel' } };
      const [first, second] = [newRun(plan), newRun(plan)];
      await lifecycle.start(second);
      await lifecycle.start(first);
      expect(await stateOf(first.id)).toBe('cancelled superseded');
      await finish(second.id);
    });

    it('goes on when the newer one is over and only never left', async () => {
      const blocked = planOf(jobSpec('deploy', { concurrency: { group: 'prod', mode: 'queue' } }));
      const [holder, older, newer] = [await launch(blocked), await launch(afterTests('latest')), await launch(blocked)];
      await redis.del(`ig:run:${newer}`);
      await end(older, 'tests');
      expect(await deployOf(older)).toBe('pending');
      await finish(holder);
    });
  });

  it('of a pipeline: a re-run gets in line as well', async () => {
    const plan: Plan = { ...planOf(jobSpec('deploy')), concurrency: { group: 'all', mode: 'queue' } };
    const old = await launch(plan);
    await finish(old);
    const running = await launch(plan);
    await lifecycle.claim(running, 'deploy', 0, 'w');
    const { record } = rerunOf((await store.get(old))!, plan, { jobs: 'all' }, new Date().toISOString());
    await lifecycle.launch(record, plan);
    expect(await stateOf(record.id)).toBe('pending (concurrency group all)');
    await lifecycle.end(running, 'deploy', 1, [], succeeded);
    await finish(record.id);
  });

  it('runs of one event wait for each other', async () => {
    const first = newRun(grouped('cancel'));
    const second = { ...first, id: makeRunId(first.createdAt, 'another pipeline') };
    await lifecycle.start(first);
    await lifecycle.start(second);
    expect(await stateOf(second.id)).toBe('pending (concurrency group prod)');
    await finish(first.id);
    await finish(second.id);
  });

  it('the same of a pipeline and of its jobs: the jobs take turns within the run', async () => {
    const concurrency = { group: 'prod', mode: 'queue' as const };
    const plan: Plan = {
      ...planOf(jobSpec('deploy', { concurrency }), jobSpec('check', { concurrency })),
      concurrency,
    };
    const [a, b] = [await launch(plan), await launch(plan)];
    expect(await lifecycle.claim(a, 'check', 0, 'w')).toBeUndefined();
    await finish(a);
    expect(await stateOf(b)).toBe('pending (concurrency group prod)');
    expect(await lifecycle.claim(a, 'check', 0, 'w')).toBeDefined();
    await lifecycle.end(a, 'check', 1, [], succeeded);
    expect(await stateOf(a)).toBe('succeeded');
    await finish(b);
  });

  it('of a pipeline: the whole run waits', async () => {
    const both = planOf(jobSpec('deploy'), jobSpec('other'));
    const plan: Plan = { ...both, concurrency: { group: 'all', mode: 'queue' } };
    const a = await launch(plan);
    const b = await launch(plan);
    expect(await stateOf(b)).toBe('pending (concurrency group all)');
    await lifecycle.claim(a, 'other', 0, 'w');
    await lifecycle.end(a, 'other', 1, [], succeeded);
    expect(await stateOf(b)).toBe('pending (concurrency group all)');
    await finish(a);
    expect(await stateOf(b)).toBe('pending (a worker)');
  });

  it('are not blocked by a run that was cancelled while it waited, nor by one that vanished', async () => {
    const [a, b, c] = [await launch(grouped('queue')), await launch(grouped('queue')), await launch(grouped('queue'))];
    await lifecycle.cancel(b, 'cancelled by a user');
    await redis.del(`ig:run:${a}`);
    await lifecycle.tend(c);
    await finish(c);
  });
});

describe('leases', () => {
  it('tells by Redis time which ran out, and whose they are', async () => {
    const leases = createLeases(redis);
    const lease = { run: 'r', job: 'a', fence: 1, worker: 'w1' };
    await leases.renew([lease]);
    expect((await leases.expired()).leases).toEqual([]);
    await redis.zadd('ig:leases', 1, 'r|b|3|w2');
    expect((await leases.expired()).leases).toEqual([{ run: 'r', job: 'b', fence: 3, worker: 'w2' }]);
    // An end that no lease can have: Redis's clock was set back an hour.
    await redis.zadd('ig:leases', Date.now() + 3_600_000, 'r|b|3|w2');
    expect((await leases.expired()).leases).toEqual([{ run: 'r', job: 'b', fence: 3, worker: 'w2' }]);
    expect(await leases.ofWorker('w1')).toEqual([lease]);
    await leases.drop(lease);
    expect(await leases.ofWorker('w1')).toEqual([]);
  });
});

describe('turns', () => {
  it('a job that had its turn goes before the many of its repository that wait for theirs', async () => {
    const run = newRun(planOf(jobSpec('lost'), jobSpec('b'), jobSpec('c')));
    await lifecycle.start(run);
    await lifecycle.claim(run.id, 'lost', 0, 'w1');
    await lifecycle.release(run.id, 'lost', 1, { counts: false, reason: 'handed over' });
    const turns = await redis.zrange('impgem:jobs:prioritized', 0, '-1');
    expect(turns.map((ticket) => ticket.slice(run.id.length + 1))).toEqual(['lost.0', 'lost.2', 'b.0', 'c.0']);
  });

  it('are of one queue: what other queues serve makes nobody wait behind a backlog', async () => {
    const turns = createTurns(redis);
    for (let count = 0; count < 200; count++) await turns.take('jobs-gpu', 'big');
    await turns.serve('jobs-gpu', 1);
    for (let count = 0; count < 100; count++) await turns.serve('jobs', await turns.take('jobs', 'busy'));
    expect(await turns.take('jobs-gpu', 'small')).toBe(1);
    expect(await turns.take('jobs-gpu', 'big')).toBe(201);
  });

  it('of jobs that are cancelled while they wait are given back', async () => {
    const many = (count: number): Plan => planOf(...Array.from({ length: count }, (_, index) => jobSpec(`j${index}`)));
    const repository = 'gitea/gem/big';
    const turnOfNext = async (): Promise<number> => {
      const run = newRun(many(1), { repository });
      await lifecycle.start(run);
      return Number(await redis.hget(`impgem:jobs:${run.id}.j0.0`, 'priority'));
    };
    const big = newRun(many(50), { repository });
    await lifecycle.start(big);
    expect(await turnOfNext()).toBe(51);
    await lifecycle.claim(big.id, 'j0', 0, 'w1');
    await lifecycle.cancel(big.id, 'cancelled by a user');
    await lifecycle.end(big.id, 'j0', 1, [], succeeded);
    // What ran had its turn, and what still waits keeps its place.
    expect(await turnOfNext()).toBe(3);
  });

  it('and its tickets, also in a queue of labels that nobody serves, but not of what runs', async () => {
    const run = newRun(planOf(jobSpec('free'), jobSpec('later'), { ...jobSpec('bound'), runsOn: ['nobody-has'] }));
    await lifecycle.start(run);
    await lifecycle.claim(run.id, 'free', 0, 'w1');
    const kept = async () => [
      ...(await redis.zrange('impgem:jobs:prioritized', 0, '-1')),
      ...(await redis.zrange('impgem:jobs-nobody-has:prioritized', 0, '-1')),
    ];
    expect(await kept()).toEqual(['free', 'later', 'bound'].map((job) => `${run.id}.${job}.0`));
    await lifecycle.cancel(run.id, 'cancelled by a user');
    await lifecycle.end(run.id, 'free', 1, [], succeeded);
    expect(await kept()).toEqual([`${run.id}.free.0`]);
    expect(await queues.labelled.forgetUnused(-1)).toEqual(['jobs-nobody-has']);
  });

  it('what a person asked to be run again goes before what waits', async () => {
    const run = newRun(planOf(jobSpec('old')));
    await lifecycle.start(run);
    await lifecycle.claim(run.id, 'old', 0, 'w1');
    await lifecycle.end(run.id, 'old', 1, [], succeeded);
    await redis.del(...(await redis.keys('impgem:jobs*')));
    await lifecycle.start(newRun(planOf(jobSpec('b'), jobSpec('c'))));
    await lifecycle.start(newRun(planOf(jobSpec('again')), { rerunOf: run.id }));
    const turns = await redis.zrange('impgem:jobs:prioritized', 0, '-1');
    expect(turns.map((ticket) => ticket.split('.')[1])).toEqual(['again', 'b', 'c']);
  });

  it('let a push of one repository pass the many waiting jobs of another', async () => {
    const turns = createTurns(redis);
    const real = createQueues(redis, fail);
    const add = async (repository: string, job: string): Promise<void> =>
      real.addTicket(
        { run: repository, job, fence: 0, turn: await turns.take('jobs', repository) },
        { labels: [], delayMs: 0 },
      );
    for (let count = 0; count < 50; count++) await add('big', `j${count}`);
    const served: string[] = [];
    const blocking = connectRedis(server.url, 'patient', fail);
    let late: Promise<void> | undefined;
    await new Promise<void>((resolve) => {
      consume<TicketPayload>(
        { name: jobQueueName([]), redis: blocking, concurrency: 1, lockMs: 30_000, onError: () => undefined },
        async ({ run, turn }) => {
          await turns.serve('jobs', turn);
          served.push(run);
          if (served.length === 10) await (late = add('small', 'j0'));
          if (served.length === 51) resolve();
          return undefined;
        },
      );
    });
    await late;
    expect(served.indexOf('small')).toBeLessThanOrEqual(12);
    blocking.disconnect();
    await real.close();
  });
});
