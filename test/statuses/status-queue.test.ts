import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Redis, connectRedis } from '../../src/queue/connection.ts';
import { type Consumer, STATUS_QUEUE, type StatusPayload, consume } from '../../src/queue/queues.ts';
import type { JobSpec } from '../../src/runs/plan.ts';
import type { RunRecord } from '../../src/runs/run.ts';
import { makeRunId } from '../../src/runs/run-id.ts';
import { type IntakeFixture, startIntake } from '../support/intake-fixture.ts';
import { jobSpec, need, planOf, pushEvent } from '../support/plans.ts';

let fixture: IntakeFixture;
let blocking: Redis;
let consumers: Consumer[] = [];
beforeAll(async () => {
  fixture = await startIntake();
  blocking = connectRedis(fixture.server.url, 'patient', () => undefined);
});
afterEach(async () => {
  await Promise.all(consumers.map((consumer) => consumer.close()));
  consumers = [];
  fixture.forge.weather = undefined;
});
afterAll(async () => {
  blocking.disconnect();
  await fixture.close();
});

let made = 0;
const newSha = (): string => (++made).toString(16).padStart(40, '0');

async function startRun(sha: string, cause: string, ...jobs: JobSpec[]): Promise<RunRecord> {
  const createdAt = new Date(Date.now() + made++).toISOString();
  const event = { ...pushEvent(), sha };
  const { record } = await fixture.runs.lifecycle.start({
    id: makeRunId(createdAt, cause),
    event,
    sha,
    message: 'Change',
    author: 'Maria',
    plan: planOf(jobSpec('main'), ...jobs),
    createdAt,
  });
  return record;
}

async function endRun(run: RunRecord, state: 'succeeded' | 'failed'): Promise<void> {
  await fixture.runs.lifecycle.claim(run.id, 'main', 0, 'w1');
  await fixture.runs.lifecycle.end(run.id, 'main', 1, [], { state, outputs: {}, infrastructure: false });
}

/** Two servers that post. */
function post(): void {
  for (let server = 0; server < 2; server++)
    consumers.push(
      consume<StatusPayload>(
        { name: STATUS_QUEUE, redis: blocking, concurrency: 4, lockMs: 10_000, onError: () => undefined },
        (payload, { attempt }) => fixture.runs.statuses.deliver(payload, attempt),
      ),
    );
}

const statesOf = (sha: string): string[] =>
  fixture.forge.posts.filter((one) => one.sha === sha).map((one) => one.state);

describe('statuses', () => {
  it('are pending, then final; what was passed meanwhile is not posted', async () => {
    const sha = newSha();
    post();
    const run = await startRun(sha, 'plain');
    await expect.poll(() => statesOf(sha)).toEqual(['pending']);
    await endRun(run, 'succeeded');
    await expect.poll(() => statesOf(sha)).toEqual(['pending', 'success']);
  });

  it('say what a job waits for that may last, and that it runs then; a job that is taken at once has two', async () => {
    const sha = newSha();
    const told = (job: string): string[] =>
      fixture.forge.posts
        .filter((one) => one.sha === sha && one.context === `impgem/${job}`)
        .map(({ description }) => description.replace(/ in .*/, ''));
    post();
    const run = await startRun(sha, 'waits', jobSpec('test', { needs: [need('main')] }));
    await expect.poll(() => told('test')).toEqual(['Waiting for job main']);
    await expect.poll(() => told('main')).toEqual(['Queued or running']);
    await endRun(run, 'succeeded');
    await expect.poll(() => told('main')).toEqual(['Queued or running', 'Succeeded']);
    // Nobody is there.
    await fixture.runs.lifecycle.tend(run.id);
    const waited = ['Waiting for job main', 'Waiting for a worker (none is connected)'];
    await expect.poll(() => told('test')).toEqual(waited);
    await fixture.runs.lifecycle.claim(run.id, 'test', 0, 'w1');
    await expect.poll(() => told('test')).toEqual([...waited, 'Running']);
    const done = { state: 'succeeded' as const, outputs: {}, infrastructure: false };
    await fixture.runs.lifecycle.end(run.id, 'test', 1, [], done);
    await expect.poll(() => told('test')).toEqual([...waited, 'Running', 'Succeeded']);
    expect(told('main')).toHaveLength(2);
  });

  it('come through a forge that fails, is busy and drops connections', async () => {
    const sha = newSha();
    fixture.forge.next.push(
      { kind: 'answer', status: 502 },
      { kind: 'drop' },
      { kind: 'answer', status: 429, headers: { 'retry-after': '1' } },
      { kind: 'take-and-drop' },
    );
    const run = await startRun(sha, 'bad weather');
    await endRun(run, 'failed');
    post();
    await expect.poll(() => statesOf(sha).at(-1), { timeout: 30_000 }).toBe('failure');
    expect(new Set(statesOf(sha))).toEqual(new Set(['failure']));
    await expect
      .poll(async () => fixture.runs.statuses.due((await fixture.runs.store.get(run.id)) ?? run), { timeout: 30_000 })
      .toEqual([]);
  });

  it('that wait for a forge that is away are no repair; those that are in no queue are', async () => {
    const sha = newSha();
    const run = await startRun(sha, 'away');
    fixture.forge.weather = () => ({ kind: 'answer', status: 500 });
    post();
    const attempts = fixture.forge.attempts;
    await fixture.forge.attempted(attempts + 2);
    expect(await fixture.runs.lifecycle.tend(run.id)).toEqual([]);
    await Promise.all(consumers.splice(0).map((consumer) => consumer.close()));
    for (const key of await fixture.redis.keys('impgem:statuses*')) await fixture.redis.del(key);
    const mended = { what: 'its status was not queued', job: 'main' };
    expect(await fixture.runs.lifecycle.tend(run.id)).toEqual([mended]);
    expect(await fixture.runs.lifecycle.tend(run.id)).toEqual([]);
    fixture.forge.weather = undefined;
    post();
    await expect.poll(() => statesOf(sha)).toEqual(['pending']);
  });

  it('are given up when the forge says that they can never be taken', async () => {
    const sha = newSha();
    fixture.forge.next.push({ kind: 'answer', status: 422 });
    const run = await startRun(sha, 'invalid');
    post();
    await expect.poll(() => fixture.runs.statuses.due(run)).toEqual([]);
    expect(statesOf(sha)).toEqual([]);
  });

  it('of a re-run are not held back by those of the run before, which wait for the forge', async () => {
    const sha = newSha();
    const first = await startRun(sha, 'first');
    fixture.forge.weather = () => ({ kind: 'answer', status: 500 });
    post();
    await endRun(first, 'failed');
    const attempts = fixture.forge.attempts;
    await fixture.forge.attempted(attempts + 1);
    const second = await startRun(sha, 'second');
    await endRun(second, 'succeeded');
    fixture.forge.weather = undefined;
    await expect.poll(() => statesOf(sha).at(-1), { timeout: 30_000 }).toBe('success');
    // The older run's end, when its turn comes, says nothing any more.
    await expect
      .poll(async () => (await fixture.runs.queues.counts())[STATUS_QUEUE]?.['delayed'], { timeout: 30_000 })
      .toBe(0);
    expect(statesOf(sha).at(-1)).toBe('success');
  });

  it('that cross on their way are repeated, so that the newer one stands', async () => {
    const sha = newSha();
    const first = await startRun(sha, 'stood still');
    fixture.forge.next.push({ kind: 'hold' });
    const attempts = fixture.forge.attempts;
    const late = fixture.runs.statuses.deliver({ run: first.id, job: 'main' }, 1);
    await fixture.forge.attempted(attempts + 1);
    const second = await startRun(sha, 'overtakes');
    await endRun(second, 'succeeded');
    await fixture.runs.statuses.deliver({ run: second.id, job: 'main' }, 1);
    expect(statesOf(sha)).toEqual(['success']);
    fixture.forge.release();
    await late;
    expect(statesOf(sha)).toEqual(['success', 'pending']);
    post();
    await expect.poll(() => statesOf(sha).at(-1)).toBe('success');
  });

  it('are held back while a forge gives no answer, but for one at a time that asks whether it is back', async () => {
    const runs = [await startRun(newSha(), 'silent'), await startRun(newSha(), 'silent too')];
    const deliver = (index: number) => fixture.runs.statuses.deliver({ run: runs[index]?.id ?? '', job: 'main' }, 1);
    const before = fixture.forge.attempts;
    fixture.forge.next.push({ kind: 'drop' }, { kind: 'hold' });
    expect(await deliver(0)).toBeGreaterThan(0);
    expect(await deliver(1)).toBeGreaterThan(0);
    expect(fixture.forge.attempts).toBe(before + 1);
    let probe: Promise<number | undefined> | undefined;
    await expect
      .poll(
        async () => {
          probe = deliver(0);
          await Promise.race([probe, fixture.forge.attempted(before + 2)]);
          return fixture.forge.attempts;
        },
        { timeout: 30_000 },
      )
      .toBe(before + 2);
    expect(await deliver(1)).toBeGreaterThan(0);
    expect(fixture.forge.attempts).toBe(before + 2);
    fixture.forge.release();
    expect(await probe).toBeUndefined();
    expect(await deliver(1)).toBeUndefined();
    expect(runs.map(({ sha }) => statesOf(sha))).toEqual([['pending'], ['pending']]);
  });

  it('of one run that cross are repeated too: no pending stays over its final', async () => {
    const sha = newSha();
    const run = await startRun(sha, 'same run');
    fixture.forge.next.push({ kind: 'hold' });
    const attempts = fixture.forge.attempts;
    const late = fixture.runs.statuses.deliver({ run: run.id, job: 'main' }, 1);
    await fixture.forge.attempted(attempts + 1);
    await endRun(run, 'failed');
    await fixture.runs.statuses.deliver({ run: run.id, job: 'main' }, 1);
    fixture.forge.release();
    expect(await late).toBe(0);
    await fixture.runs.statuses.deliver({ run: run.id, job: 'main' }, 2);
    expect(statesOf(sha)).toEqual(['failure', 'pending', 'failure']);
  });
});
