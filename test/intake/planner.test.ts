import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCatchUp } from '../../src/intake/catch-up.ts';
import { PLANNERS, planFairly } from '../../src/intake/fair-planning.ts';
import { connectRedis } from '../../src/queue/connection.ts';
import { EVENT_QUEUE, type EventPayload, consume } from '../../src/queue/queues.ts';
import type { PipelineEvent } from '../../src/runs/event.ts';
import { type IntakeFixture, startIntake } from '../support/intake-fixture.ts';
import type { TestRepository } from '../support/git-http.ts';

let fixture: IntakeFixture;
beforeAll(async () => {
  fixture = await startIntake();
});
afterAll(() => fixture.close());

const GREEN = { '.impgem.yml': 'steps: [{ run: "true" }]\n' };

const pushOf = (name: string, sha: string): PipelineEvent & { delivery: string } => ({
  kind: 'push',
  repository: `gitea/${name}`,
  ref: 'refs/heads/main',
  branch: 'main',
  sha,
  message: 'Change',
  author: 'Maria',
  delivery: randomUUID(),
  receivedAt: new Date().toISOString(),
});

/** As intake leaves it. */
async function accepted(event: PipelineEvent & { delivery: string }): Promise<PipelineEvent & { delivery: string }> {
  const { delivery, repository, receivedAt } = event;
  await fixture.deliveries.accept({ id: delivery, forge: 'gitea', event: 'push', repository, receivedAt });
  return event;
}

const runsOf = async (sha: string) => (await fixture.runs.store.list({ sha, limit: 100 })).runs;

describe('planning a delivery', () => {
  it('makes one run, however often it is done', async () => {
    const repository = await fixture.repository('plan/once');
    const event = await accepted(pushOf('plan/once', await repository.commit(GREEN)));
    await Promise.all([fixture.planner.handle(event, 1), fixture.planner.handle(event, 1)]);
    await fixture.planner.handle(event, 1);
    const runs = await runsOf(event.sha ?? '');
    expect(runs).toHaveLength(1);
    expect(await fixture.deliveries.get(event.delivery)).toMatchObject({ state: 'planned', runs: [runs[0]?.id] });
  });

  it('ignores a commit without a pipeline, and one that asks to be skipped', async () => {
    const repository = await fixture.repository('plan/nothing');
    const none = await accepted(pushOf('plan/nothing', await repository.commit({ 'file.txt': '1' })));
    await fixture.planner.handle(none, 1);
    expect(await fixture.deliveries.get(none.delivery)).toMatchObject({ state: 'ignored', reason: /no .impgem.yml/ });
    const skip = await accepted(pushOf('plan/nothing', await repository.commit(GREEN, { message: 'x [skip ci]' })));
    await fixture.planner.handle(skip, 1);
    expect(await fixture.deliveries.get(skip.delivery)).toMatchObject({ state: 'ignored' });
    expect(await runsOf(skip.sha ?? '')).toEqual([]);
  });

  it('ends in an errored run with what is wrong, for a file that is', async () => {
    const repository = await fixture.repository('plan/bad');
    const event = await accepted(pushOf('plan/bad', await repository.commit({ '.impgem.yml': 'stepz: []\n' })));
    await fixture.planner.handle(event, 1);
    expect(await runsOf(event.sha ?? '')).toMatchObject([{ state: 'errored', reason: expect.stringMatching(/stepz/) }]);
  });

  it('tries a remote that does not answer again, then ends in an errored run that says so', async () => {
    const repository = await fixture.repository('plan/hang');
    const event = await accepted(pushOf('plan/hang', await repository.commit(GREEN)));
    fixture.remote.hang = true;
    try {
      expect(await fixture.planner.handle(event, 1)).toBeGreaterThan(0);
      expect(await fixture.planner.handle(event, 1)).toBeGreaterThan(0);
      expect(await runsOf(event.sha ?? '')).toEqual([]);
      expect(await fixture.planner.handle(event, 1)).toBeUndefined();
    } finally {
      fixture.remote.hang = false;
    }
    expect(await runsOf(event.sha ?? '')).toMatchObject([{ state: 'errored' }]);
    expect(await fixture.deliveries.get(event.delivery)).toMatchObject({ state: 'failed' });
  });
});

it('a repository whose remote hangs holds up no other', async () => {
  const hanging = await fixture.repository('plan/hanging');
  const sha = await hanging.commit(GREEN);
  const other = await fixture.repository('plan/other');
  const planner = fixture.patientPlanner(600_000);
  const { queues } = fixture.runs;
  const blocking = connectRedis(fixture.server.url, 'patient', () => undefined);
  fixture.remote.hang = 'plan/hanging';
  for (let push = 0; push < 2 * PLANNERS; push++) {
    const event = await accepted(pushOf('plan/hanging', sha));
    await queues.addEvent(event.delivery, { event, tries: 1 });
  }
  const consumer = consume<EventPayload>(
    { name: EVENT_QUEUE, redis: blocking, concurrency: PLANNERS, lockMs: 10_000, onError: () => undefined },
    planFairly(
      () => Promise.resolve(),
      ({ event, tries }) => planner.handle(event, tries),
    ),
  );
  try {
    const event = await accepted(pushOf('plan/other', await other.commit(GREEN)));
    await queues.addEvent(event.delivery, { event, tries: 1 });
    await expect
      .poll(async () => (await fixture.deliveries.get(event.delivery))?.state, { timeout: 40_000 })
      .toBe('planned');
    expect(await runsOf(sha)).toEqual([]);
  } finally {
    fixture.remote.hang = false;
    fixture.remote.release();
    await consumer.close();
    blocking.disconnect();
  }
});

describe('catch-up', () => {
  const looker = (everyMs = 1) =>
    createCatchUp({
      redis: fixture.redis,
      forges: fixture.forges,
      git: fixture.git,
      allowed: () => true,
      repositories: () => Promise.resolve(['gitea/late/app']),
      isKnown: async (repository, branch, sha) =>
        (await fixture.runs.store.list({ repository, branch, sha, limit: 1 })).runs.length > 0,
      start: async (event, cause) => {
        await fixture.planner.plan(event, cause);
      },
      redeliver: () => Promise.resolve(),
      everyMs,
      graceMs: 0,
      log: { info: () => undefined, warn: () => undefined },
    });
  /** A look of one server, without those that it takes by itself. */
  const look = async (): Promise<number> => {
    await fixture.redis.del('ig:heads-turn:gitea/late/app');
    const one = looker(3_600_000);
    const found = await one.look();
    one.close();
    return found;
  };
  let repository: TestRepository;
  beforeAll(async () => {
    repository = await fixture.repository('late/app');
  });

  it('only remembers at the first look', async () => {
    const sha = await repository.commit(GREEN);
    expect(await look()).toBe(0);
    expect(await runsOf(sha)).toEqual([]);
  });

  it('finds a push whose delivery never came, once, and the run says so', async () => {
    const sha = await repository.commit({ 'file.txt': '1' });
    expect(await look()).toBe(1);
    expect(await look()).toBe(0);
    expect(await runsOf(sha)).toMatchObject([{ foundBy: 'catch-up' }]);
  });

  it('makes one run when two servers look', async () => {
    const sha = await repository.commit({ 'file.txt': '2' });
    await fixture.redis.del('ig:heads-turn:gitea/late/app');
    const two = [looker(3_600_000), looker(3_600_000)];
    const found = await Promise.all(two.map((one) => one.look()));
    for (const one of two) one.close();
    expect([...found].sort()).toEqual([0, 1]);
    expect(await runsOf(sha)).toHaveLength(1);
  });

  it('leaves alone what a delivery brought, and what asks to be skipped', async () => {
    const event = await accepted(pushOf('late/app', await repository.commit({ 'file.txt': '3' })));
    await fixture.planner.handle(event, 1);
    expect(await look()).toBe(0);
    expect(await runsOf(event.sha ?? '')).toHaveLength(1);
    const skipped = await repository.commit({ 'file.txt': '4' }, { message: '[ci skip] later' });
    await look();
    expect(await runsOf(skipped)).toEqual([]);
  });

  it('gives its run to the delivery that comes after all, and another push of the commit runs again', async () => {
    const sha = await repository.commit({ 'file.txt': '5' });
    expect(await look()).toBe(1);
    const [run] = await runsOf(sha);
    const late = await accepted(pushOf('late/app', sha));
    await fixture.planner.handle(late, 1);
    expect(await fixture.deliveries.get(late.delivery)).toMatchObject({ state: 'planned', runs: [run?.id] });
    expect(await runsOf(sha)).toHaveLength(1);
    await fixture.planner.handle(await accepted(pushOf('late/app', sha)), 1);
    expect(await runsOf(sha)).toHaveLength(2);
  });
});
