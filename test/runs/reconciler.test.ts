import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { isRedisFull } from '../../src/queue/connection.ts';
import { createReconciler, type Reconciler } from '../../src/runs/reconciler.ts';
import type { RunRecord } from '../../src/runs/run.ts';
import { makeRunId } from '../../src/runs/run-id.ts';
import type { WorkerEntry } from '../../src/runs/workers.ts';
import { type IntakeFixture, startIntake } from '../support/intake-fixture.ts';
import { jobSpec, planOf, pushEvent } from '../support/plans.ts';

let fixture: IntakeFixture;
let reconciler: Reconciler;
let repairs: string[];
let jumps: string[];
const hour = 3_600_000;
let clock: { wall: number; steady: number; redis: number };
const errors: string[] = [];

beforeAll(async () => {
  fixture = await startIntake();
});
afterAll(() => fixture.close());
beforeEach(async () => {
  await fixture.redis.flushall();
  repairs = [];
  jumps = [];
  clock = { wall: Date.now(), steady: 0, redis: 0 };
  reconciler = createReconciler({
    store: fixture.runs.store,
    lifecycle: fixture.runs.lifecycle,
    leases: {
      ...fixture.runs.leases,
      expired: async () => {
        const { at, leases } = await fixture.runs.leases.expired();
        return { at: at + clock.redis, leases };
      },
    },
    queues: fixture.runs.queues,
    onRepair: (what) => void repairs.push(what),
    onClockJump: (whose, ms) => void jumps.push(`${whose} ${Math.round(ms / hour)}`),
    onError: (message) => void errors.push(message),
    intervalMs: 3_600_000,
    clock: { wall: () => clock.wall, steady: () => clock.steady },
  });
  return () => {
    reconciler.close();
    expect(errors).toEqual([]);
  };
});

/** Time passes on all clocks; Redis's own goes on by itself, so what it says is moved as well. */
function pass(ms: number): void {
  clock.wall += ms;
  clock.steady += ms;
  clock.redis += ms;
}

/** Looks at the leases every 5 s for so long. */
async function watch(ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 5000) {
    pass(5000);
    await reconciler.releaseExpired();
  }
}

/** Leases are not judged in the first seconds of a server. */
const passTheFirstSeconds = (): Promise<void> => watch(25_000);

let count = 0;
async function startRun(runsOn: string[] = []): Promise<RunRecord> {
  // Old enough not to be in anybody's hands.
  const createdAt = new Date(Date.now() - 60_000).toISOString();
  const { record } = await fixture.runs.lifecycle.start({
    id: makeRunId(createdAt, `run ${count++}`),
    event: pushEvent(),
    sha: 'a'.repeat(40),
    message: '',
    author: '',
    plan: planOf(jobSpec('main', { runsOn })),
    createdAt,
  });
  return record;
}
const now = async (run: RunRecord): Promise<RunRecord | undefined> => fixture.runs.store.get(run.id);
const lease = (run: RunRecord) => ({ run: run.id, job: 'main', fence: 1, worker: 'w1' });
/** As if it was not renewed for long. */
const expire = (): Promise<unknown> =>
  fixture.redis.zrange('ig:leases', 0, '-1').then((all) => fixture.redis.zadd('ig:leases', 1, all[0] ?? ''));

describe('a job whose worker is gone', () => {
  it('goes to the next one when its lease ran out', async () => {
    const run = await startRun();
    await fixture.runs.leases.renew([lease(run)]);
    await fixture.runs.lifecycle.claim(run.id, 'main', 0, 'w1');
    await passTheFirstSeconds();
    await reconciler.releaseExpired();
    expect((await now(run))?.jobs[0]?.state).toBe('running');
    await expire();
    await reconciler.releaseExpired();
    expect(await now(run)).toMatchObject({
      jobs: [{ state: 'pending' }],
      control: { main: { fence: 2, losses: 1, lossReason: 'worker w1 was lost' } },
    });
    expect(await fixture.runs.leases.all()).toEqual([]);
    expect(repairs).toEqual(['job-released']);
  });

  it('keeps it after a pause of the server or of Redis: its worker gets time to renew', async () => {
    const run = await startRun();
    await fixture.runs.leases.renew([lease(run)]);
    await fixture.runs.lifecycle.claim(run.id, 'main', 0, 'w1');
    await passTheFirstSeconds();
    await reconciler.releaseExpired();
    await expire();
    pass(10_000);
    await reconciler.releaseExpired();
    expect((await now(run))?.jobs[0]?.state).toBe('running');
    // A pause is no jump.
    expect(jumps).toEqual([]);
  });

  it('goes to the next one when it has no lease at all; one with a lease does not', async () => {
    const [lost, held] = [await startRun(), await startRun()];
    await fixture.runs.leases.renew([lease(held)]);
    for (const run of [lost, held]) await fixture.runs.lifecycle.claim(run.id, 'main', 0, 'w1');
    await passTheFirstSeconds();
    await reconciler.tendAll();
    expect((await now(lost))?.jobs[0]?.state).toBe('pending');
    expect((await now(held))?.jobs[0]?.state).toBe('running');
  });
});

describe('when a clock jumps or Redis takes no writes', () => {
  const state = async (run: RunRecord) => (await now(run))?.jobs[0]?.state;
  async function startHeld(): Promise<RunRecord> {
    const run = await startRun();
    await fixture.runs.leases.renew([lease(run)]);
    await fixture.runs.lifecycle.claim(run.id, 'main', 0, 'w1');
    await passTheFirstSeconds();
    return run;
  }

  it.each([hour, -hour])("the server's by %d ms: a dead worker's job goes on all the same", async (ms) => {
    const run = await startHeld();
    clock.wall += ms;
    await expire();
    await reconciler.releaseExpired();
    expect(await state(run)).toBe('running');
    await watch(20_000);
    expect(await state(run)).toBe('pending');
    expect(jumps).toEqual([`server ${ms / hour}`]);
  });

  it("Redis's forward: leases look as if they had run out, and are given time to be renewed", async () => {
    const [alive, dead] = [await startHeld(), await startHeld()];
    clock.redis += hour;
    await fixture.redis.zadd('ig:leases', 1, `${alive.id}|main|1|w1`, 1, `${dead.id}|main|1|w1`);
    await reconciler.releaseExpired();
    await fixture.runs.leases.renew([lease(alive)]);
    await watch(20_000);
    expect([await state(alive), await state(dead)]).toEqual(['running', 'pending']);
    expect(jumps).toEqual(['redis 1']);
  });

  it("Redis's back: a lease that would last for an hour more ends like any other", async () => {
    const [alive, dead] = [await startHeld(), await startHeld()];
    clock.redis -= hour;
    const later = Date.now() + hour;
    await fixture.redis.zadd('ig:leases', later, `${alive.id}|main|1|w1`, later, `${dead.id}|main|1|w1`);
    await reconciler.releaseExpired();
    await fixture.runs.leases.renew([lease(alive)]);
    await watch(20_000);
    expect([await state(alive), await state(dead)]).toEqual(['running', 'pending']);
  });

  it("back: what was put off is due soon all the same, what is put off for long isn't touched", async () => {
    const { redis, runs } = fixture;
    const ticket = { run: 'r', job: 'main', turn: 1 };
    await runs.queues.addTicket({ ...ticket, fence: 1 }, { labels: ['gpu'], delayMs: 10 });
    await runs.queues.addTicket({ ...ticket, fence: 2 }, { labels: ['gpu'], delayMs: hour });
    const delayed = 'impgem:jobs-gpu:delayed';
    const due = async (fence: number): Promise<number> => Number(await redis.zscore(delayed, `r.main.${fence}`)) / 4096;
    await redis.zincrby(delayed, hour * 4096, 'r.main.1');
    const before = await due(2);
    expect((await due(1)) - Date.now()).toBeGreaterThan(hour / 2);
    await reconciler.tendAll();
    expect(await due(1)).toBeLessThanOrEqual(Date.now() + 1000);
    expect(await due(2)).toBe(before);
    expect(repairs).toEqual(['delay-shortened']);
  });

  it('a run from the future is tended', async () => {
    const run = await startRun();
    await fixture.redis.del(...(await fixture.redis.keys('impgem:jobs*')));
    clock.wall -= hour;
    await reconciler.tendAll();
    expect(await fixture.runs.queues.hasTicket({ run: run.id, job: 'main', fence: 0 }, [])).toBe(true);
  });

  it('a Redis at its maxmemory took no renewals: workers get time for them once it takes writes again', async () => {
    const [alive, dead] = [await startHeld(), await startHeld()];
    await fixture.redis.config('SET', 'maxmemory', '1');
    try {
      const failing = fixture.runs.leases.renew([lease(alive)]).catch((error: unknown) => isRedisFull(error));
      expect(await failing).toBe(true);
    } finally {
      await fixture.redis.config('SET', 'maxmemory', '0');
    }
    await fixture.redis.zadd('ig:leases', 1, `${alive.id}|main|1|w1`, 1, `${dead.id}|main|1|w1`);
    await fixture.redis.config('SET', 'maxmemory', '1');
    pass(2000);
    await expect(reconciler.releaseExpired()).rejects.toThrow(/OOM/);
    await fixture.redis.config('SET', 'maxmemory', '0');
    pass(2000);
    await reconciler.releaseExpired();
    expect(await state(alive)).toBe('running');
    await fixture.runs.leases.renew([lease(alive)]);
    await watch(20_000);
    expect([await state(alive), await state(dead)]).toEqual(['running', 'pending']);
  });
});

describe('what a crash left', () => {
  it('a ticket that was never queued is queued, once', async () => {
    const run = await startRun();
    await fixture.redis.del(...(await fixture.redis.keys('impgem:jobs*')));
    await reconciler.tendAll();
    await reconciler.tendAll();
    expect(await fixture.runs.queues.hasTicket({ run: run.id, job: 'main', fence: 0 }, [])).toBe(true);
    expect((await fixture.runs.queues.counts())['jobs']).toMatchObject({ prioritized: 1 });
  });

  it('an id that names no run is forgotten', async () => {
    const id = makeRunId(new Date(Date.now() - 60_000).toISOString(), 'gone');
    await fixture.redis.zadd('ig:active', 1, id);
    await reconciler.tendAll();
    expect(await fixture.runs.store.active()).toEqual([]);
  });

  it('a run that is over and was not seen through is archived and leaves the active ones', async () => {
    const run = await startRun();
    await fixture.runs.lifecycle.claim(run.id, 'main', 0, 'w1');
    await fixture.runs.lifecycle.end(run.id, 'main', 1, [], { state: 'succeeded', outputs: {}, infrastructure: false });
    await fixture.redis.zadd('ig:active', 1, run.id);
    await reconciler.tendAll();
    expect(await fixture.runs.store.active()).toEqual([]);
  });

  it('a write whose answer was lost with the connection counts as done', async () => {
    const run = await startRun();
    // The client sends again what was not answered: the same command twice.
    const target = fixture.redis as unknown as { igCommitRun(...args: unknown[]): Promise<number> };
    const once = target.igCommitRun.bind(fixture.redis);
    target.igCommitRun = async (...args) => {
      await once(...args);
      return once(...args);
    };
    try {
      expect(await fixture.runs.lifecycle.claim(run.id, 'main', 0, 'w1')).toMatchObject({ jobs: [{ worker: 'w1' }] });
    } finally {
      target.igCommitRun = once;
    }
  });
});

describe('a job that no worker takes', () => {
  const worker = (change: Partial<WorkerEntry> = {}): WorkerEntry => ({
    name: 'w1',
    labels: [],
    host: 'here',
    pid: 1,
    start: '1',
    ...change,
  });
  const waitingFor = async (run: RunRecord): Promise<string | undefined> => (await now(run))?.jobs[0]?.waitingFor;

  it('says so, until one comes', async () => {
    const [plain, gpu] = [await startRun(), await startRun(['gpu'])];
    await reconciler.tendAll();
    expect(await waitingFor(plain)).toBe('a worker (none is connected)');
    expect(await waitingFor(gpu)).toBe('a worker with labels gpu (none is connected)');
    await fixture.runs.workers.beat(worker());
    await reconciler.tendAll();
    expect(await waitingFor(plain)).toBe('a worker');
    expect(await waitingFor(gpu)).toBe('a worker with labels gpu (none is connected)');
    await fixture.runs.workers.beat(worker({ name: 'w2', labels: ['gpu'], paused: 'only 5 MB free on its disk' }));
    await reconciler.tendAll();
    expect(await waitingFor(gpu)).toBe('a worker with labels gpu (w2: only 5 MB free on its disk)');
  });

  it('and a worker that is silent is forgotten', async () => {
    await fixture.runs.workers.beat(worker());
    expect(await fixture.runs.workers.live()).toHaveLength(1);
    await fixture.redis.zadd('ig:workers-seen', 1, 'w1');
    expect(await fixture.runs.workers.live()).toEqual([]);
    await fixture.runs.workers.beat(worker());
    await fixture.runs.workers.leave('w1');
    expect(await fixture.runs.workers.live()).toEqual([]);
  });
});
