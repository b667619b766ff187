import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createJobConsumers } from '../../src/cli/job-consumers.ts';
import { LostJobError } from '../../src/errors.ts';
import { connectRedis } from '../../src/queue/connection.ts';
import { type TicketPayload, consume } from '../../src/queue/queues.ts';
import { type JobSource, type JobSourceDeps, createJobSource } from '../../src/runs/job-source.ts';
import type { RunRecord } from '../../src/runs/run.ts';
import { makeRunId } from '../../src/runs/run-id.ts';
import type { HeldJob, JobResult } from '../../src/worker/ports.ts';
import { work } from '../../src/worker/work.ts';
import { type IntakeFixture, startIntake } from '../support/intake-fixture.ts';
import { jobSpec, planOf, pushEvent, stepSpec } from '../support/plans.ts';

const SUCCEEDED: JobResult = { state: 'succeeded', outputs: {}, infrastructure: false };

let fixture: IntakeFixture;
let errors: string[];
beforeAll(async () => {
  fixture = await startIntake();
});
afterAll(() => fixture.close());
beforeEach(async () => {
  await setMaxMemory(0);
  await fixture.redis.flushall();
  errors = [];
});

const sourceOf = (more: Partial<JobSourceDeps> = {}): JobSource =>
  createJobSource({
    ...fixture.runs,
    worker: 'w1',
    links: () => ({}),
    onError: (message) => errors.push(message),
    ...more,
  });

let count = 0;
async function startRun(): Promise<RunRecord> {
  const createdAt = new Date().toISOString();
  const { record } = await fixture.runs.lifecycle.start({
    id: makeRunId(createdAt, `run ${count++}`),
    event: pushEvent(),
    sha: 'a'.repeat(40),
    message: '',
    author: '',
    plan: planOf(jobSpec('main', { steps: [stepSpec('one'), stepSpec('two')] })),
    createdAt,
  });
  return record;
}
const now = (run: RunRecord): Promise<RunRecord | undefined> => fixture.runs.store.get(run.id);
const ticketOf = (run: RunRecord): TicketPayload => ({ run: run.id, job: 'main', fence: 0, turn: 1 });
async function claimed(source: JobSource, run: RunRecord): Promise<HeldJob> {
  const held = await source.claim(ticketOf(run));
  if (!held) throw new Error('the ticket does not work');
  return held;
}
const setMaxMemory = (bytes: number): Promise<unknown> => fixture.redis.config('SET', 'maxmemory', String(bytes));

describe('a Redis that takes no writes for a while', () => {
  it('when a ticket was served: those behind it wait, and are served afterwards', async () => {
    const runs = [await startRun(), await startRun(), await startRun()];
    const source = sourceOf();
    const blocking = connectRedis(fixture.server.url, 'patient', () => undefined);
    let isFirst = true;
    const consumers = createJobConsumers({
      labels: [],
      limit: 1,
      all: () => Promise.resolve([]),
      consume: (name, handle) =>
        consume<TicketPayload>(
          { name, redis: blocking, concurrency: 1, lockMs: 15_000, onError: () => undefined },
          handle,
        ),
      hasRoom: () => Promise.resolve(true),
      async take(ticket) {
        const held = await source.claim(ticket);
        await held?.end(SUCCEEDED);
        await held?.letGo();
        // The end of this ticket is written all the same, and brings the next one.
        if (isFirst) await setMaxMemory(1);
        isFirst = false;
      },
      onError: (message) => errors.push(message),
    });
    await consumers.follow();
    await expect.poll(() => errors.some((one) => /could not be claimed: OOM/.test(one))).toBe(true);
    await setMaxMemory(0);
    for (const run of runs)
      await expect.poll(async () => (await now(run))?.state, { timeout: 10_000 }).toBe('succeeded');
    await consumers.close();
    blocking.disconnect();
  });

  it('when a job ends: its end is written afterwards as it was, with the news of its steps', async () => {
    const run = await startRun();
    const held = await claimed(sourceOf(), run);
    await held.report.step(0, { state: 'running' });
    await expect.poll(async () => (await now(run))?.jobs[0]?.steps[0]?.state).toBe('running');
    const ended = work(held, {
      runner: {
        async run() {
          await setMaxMemory(1);
          await held.report.step(0, { state: 'succeeded' });
          await expect.poll(() => errors.length).toBe(1);
          await held.report.step(1, { state: 'running' });
          await expect.poll(() => errors.length).toBe(2);
          return SUCCEEDED;
        },
      },
      detach: new AbortController().signal,
      onExecutorLost: () => Promise.resolve(),
      log: { info: () => undefined, error: (_, message) => errors.push(message) },
    });
    await expect.poll(() => errors.filter((one) => one.includes('tried again: OOM')).length).toBeGreaterThan(1);
    await setMaxMemory(0);
    await ended;
    expect(await now(run)).toMatchObject({ jobs: [{ state: 'succeeded', steps: [{ state: 'succeeded' }, {}] }] });
    expect(errors.filter((one) => one.includes('could not be recorded'))).toEqual(
      errors.filter((one) => one.startsWith('steps of')),
    );
    expect(await fixture.runs.leases.all()).toEqual([]);
  });

  it('when a job is handed over: it is handed over afterwards', async () => {
    const run = await startRun();
    const held = await claimed(sourceOf(), run);
    await setMaxMemory(1);
    const handed = held.handBack();
    await expect.poll(() => errors).not.toEqual([]);
    await setMaxMemory(0);
    await handed;
    expect(await now(run)).toMatchObject({
      jobs: [{ state: 'pending' }],
      control: { main: { lossReason: 'handed over' } },
    });
  });
});

describe('a job that is held', () => {
  it('and was given to another worker is let go: nothing of it is looked at any more', async () => {
    const run = await startRun();
    const looked: string[] = [];
    const get = (id: string) => (looked.push(id), fixture.runs.store.get(id));
    const source = sourceOf({ store: { ...fixture.runs.store, get } });
    const held = await claimed(source, run);
    await fixture.runs.lifecycle.release(run.id, 'main', 1, { counts: true, reason: 'silent' });
    const infos: string[] = [];
    await work(held, {
      runner: {
        async run() {
          await source.beat();
          throw held.cancel.reason;
        },
      },
      detach: new AbortController().signal,
      onExecutorLost: () => Promise.resolve(),
      log: { info: (_, message) => infos.push(message), error: (_, message) => errors.push(message) },
    });
    expect(held.cancel.reason).toBeInstanceOf(LostJobError);
    expect(infos[0]).toMatch(/^let go: /);
    looked.length = 0;
    await source.beat();
    expect(looked).toEqual([]);
    expect(errors).toEqual([]);
  });

  it('keeps its lease when its ticket is delivered again', async () => {
    const run = await startRun();
    const source = sourceOf();
    await claimed(source, run);
    expect(await source.claim(ticketOf(run))).toBeUndefined();
    expect(await fixture.runs.leases.all()).toEqual([{ run: run.id, job: 'main', fence: 1, worker: 'w1' }]);
  });

  it('hears of a cancel that came right behind its claim', async () => {
    const run = await startRun();
    const { lifecycle } = fixture.runs;
    const source = sourceOf({
      lifecycle: {
        ...lifecycle,
        async claim(...args) {
          // Before the claim there is nothing to hear, and nothing is lost.
          await source.check(run.id);
          const record = await lifecycle.claim(...args);
          await lifecycle.cancel(run.id, 'cancelled by a person');
          await source.check(run.id);
          return record;
        },
      },
    });
    const held = await claimed(source, run);
    expect(held.cancel.reason).toBe('cancelled by a person');
  });
});
