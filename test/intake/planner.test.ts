import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type CatchUpDeps, createCatchUp } from '../../src/intake/catch-up.ts';
import { createIsLeft } from '../../src/intake/left-deliveries.ts';
import { PLANNERS, planFairly } from '../../src/intake/fair-planning.ts';
import type { Git } from '../../src/git/git.ts';
import type { Planner } from '../../src/intake/planner.ts';
import { eventId } from '../../src/intake/receive.ts';
import { connectRedis } from '../../src/queue/connection.ts';
import { EVENT_QUEUE, type EventPayload, consume } from '../../src/queue/queues.ts';
import type { Lifecycle } from '../../src/runs/lifecycle.ts';
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
  await fixture.pushes.tell(event, delivery);
  return event;
}

const runsOf = async (sha: string) => (await fixture.runs.store.list({ sha, limit: 100 })).runs;
/** Commits of the same files in the same second are the same commit, also in another repository. */
const runsIn = async (repository: string) =>
  (await fixture.runs.store.list({ repository: `gitea/${repository}`, limit: 100 })).runs;

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

  it('asks for message and author of the commit, whatever told of it', async () => {
    const repository = await fixture.repository('plan/words');
    const condition = "contains(event.message, 'Release') && event.author == 'Maria' && event.authorEmail != ''";
    const steps = `steps: [{ run: "true", when: { if: "${condition}" } }]\n`;
    const sha = await repository.commit({ '.impgem.yml': steps }, { message: 'Release 1' });
    const others: Partial<PipelineEvent>[] = [
      { foundBy: 'catch-up', message: '', author: '' },
      { kind: 'manual', message: '', author: '' },
      { kind: 'pull_request', branch: 'main', message: 'The title', author: 'a-login' },
    ];
    for (const other of others) {
      const { runs } = await fixture.planner.plan({ ...pushOf('plan/words', sha), ...other }, randomUUID());
      expect(runs).toMatchObject([{ jobs: [{ state: 'pending' }], message: 'Release 1', author: 'Maria' }]);
      expect(runs[0]?.source).toMatchObject({ message: 'Release 1', author: 'Maria' });
    }
  });

  it('tries a remote that does not answer again, then ends in an errored run that says so', async () => {
    const repository = await fixture.repository('plan/hang');
    const event = await accepted(pushOf('plan/hang', await repository.commit(GREEN)));
    fixture.remote.hang = true;
    try {
      expect(await fixture.planner.handle(event, 1)).toBeGreaterThan(0);
      expect(await fixture.planner.handle(event, 1)).toBeGreaterThan(0);
      expect(await runsIn('plan/hang')).toEqual([]);
      expect(await fixture.planner.handle(event, 1)).toBeUndefined();
    } finally {
      fixture.remote.hang = false;
    }
    expect(await runsIn('plan/hang')).toMatchObject([{ state: 'errored' }]);
    expect(await fixture.deliveries.get(event.delivery)).toMatchObject({ state: 'failed' });
  });
});

it('a delivery of which one pipeline could not be set going names the runs of the others', async () => {
  const repository = await fixture.repository('plan/half');
  const steps = GREEN['.impgem.yml'];
  const event = await accepted(
    pushOf('plan/half', await repository.commit({ '.impgem/one.yml': steps, '.impgem/two.yml': steps })),
  );
  const { lifecycle } = fixture.runs;
  const start: Lifecycle['start'] = (run) =>
    run.plan.file.endsWith('two.yml') ? Promise.reject(new Error('no room')) : lifecycle.start(run);
  const planner = fixture.plannerWith({ lifecycle: { start } });
  for (let count = 0; count < 2; count++) expect(await planner.handle(event, 1)).toBeGreaterThan(0);
  expect(await planner.handle(event, 1)).toBeUndefined();
  const runs = await runsOf(event.sha ?? '');
  expect(runs.map((run) => [run.pipeline, run.state]).sort()).toEqual([
    [undefined, 'errored'],
    ['one', 'pending'],
  ]);
  const delivery = await fixture.deliveries.get(event.delivery);
  expect(delivery).toMatchObject({ state: 'failed', reason: 'planning failed: no room' });
  expect([...(delivery?.runs ?? [])].sort()).toEqual(runs.map(({ id }) => id).sort());
});

it('a repository whose remote hangs holds up no other', async () => {
  const hanging = await fixture.repository('plan/hanging');
  const sha = await hanging.commit(GREEN);
  const other = await fixture.repository('plan/other');
  const planner = fixture.plannerWith({ git: fixture.gitFor(600_000) });
  const { queues } = fixture.runs;
  const blocking = connectRedis(fixture.server.url, 'patient', () => undefined);
  fixture.remote.hang = 'plan/hanging';
  for (let push = 0; push < 2 * PLANNERS; push++) {
    const event = await accepted(pushOf('plan/hanging', sha));
    await queues.addEvent(event.delivery, { event, tries: 1, turn: 1 });
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
    await queues.addEvent(event.delivery, { event, tries: 1, turn: 1 });
    await expect
      .poll(async () => (await fixture.deliveries.get(event.delivery))?.state, { timeout: 40_000 })
      .toBe('planned');
    expect(await runsIn('plan/hanging')).toEqual([]);
  } finally {
    fixture.remote.hang = false;
    fixture.remote.release();
    await consumer.close();
    blocking.disconnect();
  }
});

describe('catch-up', () => {
  let name = 'late/app';
  let repository: TestRepository;
  let found: number;
  let said: string[];
  const looker = (more: Partial<CatchUpDeps> = {}) =>
    createCatchUp({
      redis: fixture.redis,
      forges: fixture.forges,
      git: fixture.git,
      allowed: () => true,
      repositories: () => Promise.resolve([`gitea/${name}`]),
      pushes: fixture.pushes,
      isLeft: createIsLeft(fixture.deliveries, fixture.runs.queues),
      hasRun: async (of, branch, sha) =>
        (await fixture.runs.store.list({ repository: of, branch, sha, limit: 1 })).runs.length > 0,
      lastPush: async (of, branch) =>
        (await fixture.runs.store.list({ repository: of, branch, limit: 1 })).runs[0]?.sha,
      planner: fixture.planner,
      onFound: () => found++,
      redeliver: () => Promise.resolve(),
      everyMs: 3_600_000,
      graceMs: 0,
      log: { info: () => undefined, warn: (_, message) => said.push(message) },
      ...more,
    });
  /** A look of one server, without those that it takes by itself. */
  const look = async (more: Partial<CatchUpDeps> = {}): Promise<number> => {
    await fixture.redis.del(`ig:heads-turn:gitea/${name}`);
    const one = looker(more);
    const count = await one.look();
    one.close();
    return count;
  };
  const repositoryOf = async (of: string): Promise<TestRepository> => {
    name = of;
    return fixture.repository(of);
  };
  beforeAll(async () => {
    repository = await repositoryOf('late/app');
  });
  beforeEach(() => {
    [name, found, said] = ['late/app', 0, []];
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
    expect(found).toBe(1);
  });

  it('finds what was pushed between a look and a restart right after it, and servers that start together look once', async () => {
    await look();
    const sha = await repository.commit({ 'file.txt': 'restart' });
    // It is still the turn of the look before.
    expect(await fixture.redis.exists('ig:heads-turn:gitea/late/app')).toBe(1);
    let asked = 0;
    const git: CatchUpDeps['git'] = { lsRemote: (...remote) => (asked++, fixture.git.lsRemote(...remote)) };
    const started = [looker({ git }), looker({ git })];
    await expect.poll(() => found, { timeout: 40_000 }).toBe(1);
    for (const one of started) one.close();
    expect(await runsOf(sha)).toMatchObject([{ foundBy: 'catch-up' }]);
    expect(asked).toBe(1);
  });

  describe('with repositories that hang', () => {
    const hanging = ['gitea/hang/a', 'gitea/hang/b', 'gitea/hang/c'];
    const repositories = () => Promise.resolve([...hanging, `gitea/${name}`]);
    const lsRemote: Git['lsRemote'] = (source, of, signal) =>
      hanging.includes(of)
        ? once(signal ?? new EventTarget(), 'abort').then(() => Promise.reject(new Error('cancelled')))
        : fixture.git.lsRemote(source, of, signal);
    const forget = () => fixture.redis.del(...hanging.map((of) => `ig:heads-turn:${of}`));
    beforeEach(forget);

    it('the others are looked at all the same', async () => {
      await look();
      const sha = await repository.commit({ 'file.txt': 'beside' });
      await fixture.redis.del(`ig:heads-turn:gitea/${name}`);
      const one = looker({ repositories, git: { lsRemote } });
      const looking = one.look();
      await expect.poll(() => found).toBe(1);
      one.close();
      await looking;
      expect(await runsOf(sha)).toHaveLength(1);
      expect(said).toEqual([]);
    });

    it('a look ends, and says which', async () => {
      const onlyThose = () => Promise.resolve(hanging);
      expect(await look({ repositories: onlyThose, git: { lsRemote }, listingMs: 50 })).toBe(0);
      expect(said.sort()).toEqual(hanging.map((of) => `catch-up: ${of} did not list its branches in time`));
    });
  });

  it('makes one run when two servers look', async () => {
    const sha = await repository.commit({ 'file.txt': '2' });
    await fixture.redis.del('ig:heads-turn:gitea/late/app');
    const two = [looker(), looker()];
    const counts = await Promise.all(two.map((one) => one.look()));
    for (const one of two) one.close();
    expect([...counts].sort()).toEqual([0, 1]);
    expect(await runsOf(sha)).toHaveLength(1);
  });

  it('leaves alone what a delivery brought, and what asks to be skipped', async () => {
    const event = await accepted(pushOf('late/app', await repository.commit({ 'file.txt': '3' })));
    await fixture.planner.handle(event, 1);
    expect(await look()).toBe(0);
    expect(await runsOf(event.sha ?? '')).toHaveLength(1);
    const skipped = await repository.commit({ 'file.txt': '4' }, { message: '[ci skip] later' });
    expect(await look()).toBe(0);
    expect(await runsOf(skipped)).toEqual([]);
    expect(found).toBe(0);
  });

  it('does not ask for what a delivery told of, though it led to nothing or is not planned yet', async () => {
    const other = await repositoryOf('late/nothing');
    await other.commit({ 'file.txt': '1' });
    await look();
    const event = await accepted(pushOf(name, await other.commit({ 'file.txt': '2' })));
    await fixture.runs.queues.addEvent(eventId('gitea', event.delivery, 1), { event, tries: 1, turn: 1 });
    const settled: string[] = [];
    const planner = { settle: (event: PipelineEvent) => (settled.push(event.ref), Promise.resolve({ runs: [] })) };
    expect(await look({ planner, graceMs: 600_000 })).toBe(0);
    expect(settled).toEqual([]);
  });

  it('finds a push whose delivery was half taken when the server died, and gives its run to the delivery that is sent again', async () => {
    const other = await repositoryOf('late/half');
    await other.commit(GREEN);
    await look();
    // Known and told of, but its event never got into the queue.
    const event = await accepted(pushOf(name, await other.commit({ 'file.txt': 'half' })));
    expect(await look()).toBe(1);
    const runs = await runsOf(event.sha ?? '');
    expect(runs).toMatchObject([{ foundBy: 'catch-up' }]);
    await fixture.planner.handle(await accepted(event), 1);
    expect(await runsOf(event.sha ?? '')).toHaveLength(1);
    expect(await fixture.deliveries.get(event.delivery)).toMatchObject({ state: 'planned', runs: [runs[0]?.id] });
    expect(await look()).toBe(0);
  });

  it('finds at its first look what was pushed after a push that was run, and of that branch alone', async () => {
    const other = await repositoryOf('late/second');
    await other.commit(GREEN, { branch: 'before-us' });
    const first = await accepted(pushOf(name, await other.commit(GREEN)));
    await fixture.planner.handle(first, 1);
    const sha = await other.commit({ 'file.txt': 'second' });
    expect(await look()).toBe(1);
    const runs = await runsIn(name);
    expect(runs.map((run) => run.sha).sort()).toEqual([first.sha, sha].sort());
    expect(runs.find((run) => run.sha === sha)).toMatchObject({ foundBy: 'catch-up', branch: 'main' });
    expect(await look()).toBe(0);
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

  it('and a delivery that comes upon the same push at once make one run', async () => {
    const sha = await repository.commit({ 'file.txt': '6' });
    let arrived: (PipelineEvent & { delivery: string }) | undefined;
    // The delivery comes, and is planned, while catch-up fetches.
    const settle: Planner['settle'] = async (...push) => {
      arrived = await accepted(pushOf('late/app', sha));
      await fixture.planner.handle(arrived, 1);
      return fixture.planner.settle(...push);
    };
    await look({ planner: { settle } });
    const runs = await runsOf(sha);
    expect(runs).toHaveLength(1);
    expect(await fixture.deliveries.get(arrived?.delivery ?? '')).toMatchObject({ runs: [runs[0]?.id] });
  });

  it('remembers all heads of a first look or none', async () => {
    const other = await repositoryOf('late/first');
    for (const branch of ['one', 'two', 'three']) await other.commit(GREEN, { branch });
    // As one cut off at any write.
    const writes: number[] = [];
    const redis = new Proxy(fixture.redis, {
      get: (target, property) =>
        property === 'hset'
          ? (key: string, heads: Record<string, string>) => {
              writes.push(Object.keys(heads).length);
              return target.hset(key, heads);
            }
          : (Reflect.get(target, property) as unknown),
    });
    await look({ redis });
    expect(writes).toEqual([3]);
  });

  it('a branch that cannot be planned ends in a run that says so, and the others are found', async () => {
    const other = await repositoryOf('late/bad');
    await other.commit(GREEN);
    await look();
    const bad = await other.commit({ '.impgem.yml': Buffer.alloc(7 * 1024 ** 2, 'x') }, { branch: 'a-bad' });
    const good = await other.commit(GREEN, { branch: 'b-good' });
    expect(await look()).toBe(2);
    expect(await runsOf(bad)).toMatchObject([{ state: 'errored', foundBy: 'catch-up' }]);
    expect(await runsOf(good)).toHaveLength(1);
    expect(await look()).toBe(0);
  });

  it('a branch that may pass is tried at three looks', async () => {
    const other = await repositoryOf('late/again');
    await other.commit(GREEN);
    await look();
    const sha = await other.commit({ 'file.txt': '1' });
    await fixture.redis.del(`ig:heads-turn:gitea/${name}`);
    const lsRemote: Git['lsRemote'] = async (...remote) => {
      const refs = await fixture.git.lsRemote(...remote);
      // The list of branches comes, and no commit.
      fixture.remote.cut = true;
      return refs;
    };
    const one = looker({ git: { lsRemote } });
    for (let count = 0; count < 3; count++) {
      expect(await runsOf(sha)).toEqual([]);
      await fixture.redis.del(`ig:heads-turn:gitea/${name}`);
      await one.look().finally(() => (fixture.remote.cut = false));
    }
    one.close();
    expect(await runsOf(sha)).toMatchObject([{ state: 'errored' }]);
    expect(said).toHaveLength(2);
  });
});
