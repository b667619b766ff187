import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createAllowList } from '../../src/intake/allow-list.ts';
import { createDeliveries } from '../../src/intake/deliveries.ts';
import { type Journal, openJournal } from '../../src/intake/journal.ts';
import {
  type AcceptedDelivery,
  type ReceiveDelivery,
  createEnqueue,
  createReceive,
  isAcceptedDelivery,
} from '../../src/intake/receive.ts';
import { createPushes } from '../../src/intake/pushes.ts';
import { createEventTurns } from '../../src/queue/event-turns.ts';
import { type Redis, connectRedis } from '../../src/queue/connection.ts';
import { EVENT_QUEUE, type EventPayload, type Queues, consume, createQueues } from '../../src/queue/queues.ts';
import { createTurns } from '../../src/queue/turns.ts';
import { signDelivery } from '../support/fake-forge.ts';
import { type IntakeFixture, SECRET, startIntake } from '../support/intake-fixture.ts';
import { pushBody } from '../support/product.ts';

let fixture: IntakeFixture;
let quick: Redis;
let queues: Queues;
let journal: Journal<AcceptedDelivery>;
let receive: ReceiveDelivery;
let isAllowed: (repository: string) => boolean;
let opened = 0;
/** As it is in the names of journals. */
const host = createHash('sha256').update(hostname()).digest('hex').slice(0, 8);

beforeAll(async () => {
  fixture = await startIntake();
  quick = connectRedis(fixture.server.url, 'fail-fast', () => undefined);
  await new Promise((resolve) => quick.once('ready', resolve));
  queues = createQueues(quick, () => undefined);
});
afterAll(async () => {
  quick.disconnect();
  await fixture.close();
});
beforeEach(async () => {
  await fixture.redis.flushall();
  journal = await openJournal({ folder: join(fixture.folder, `journal-${opened++}`), maxBytes: 20_000 });
  isAllowed = createAllowList('gitea/ann/*');
  receive = createReceive({
    forges: fixture.forges,
    deliveries: createDeliveries(quick),
    queues,
    turns: createEventTurns(quick),
    pushes: createPushes(quick),
    journal,
    allowed: (repository) => isAllowed(repository),
  });
});

const body = (name = 'ann/app'): Buffer =>
  Buffer.from(JSON.stringify(pushBody(name, 'main', 'a'.repeat(40), 'b'.repeat(40), 'Change')));
const deliver = (delivery: string, name?: string) => {
  const bytes = body(name);
  return receive('gitea', signDelivery('gitea', SECRET, bytes, { delivery }), bytes);
};
const events = async (): Promise<number> => (await queues.counts())[EVENT_QUEUE]?.['prioritized'] ?? 0;

describe('a delivery', () => {
  it('is accepted once, however often and at once it comes', async () => {
    const results = await Promise.all(Array.from({ length: 20 }, () => deliver('one')));
    expect(results.filter((each) => each.result === 'accepted')).toHaveLength(1);
    expect(results.filter((each) => each.result === 'duplicate')).toHaveLength(19);
    expect(await events()).toBe(1);
  });

  it('of a repository that is not allowed is ignored, and remembered as that', async () => {
    expect(await deliver('other', 'eve/app')).toMatchObject({ result: 'ignored' });
    expect(await fixture.deliveries.get('other')).toMatchObject({ state: 'ignored' });
    expect(await deliver('other', 'eve/app')).toMatchObject({
      result: 'ignored',
      reason: 'gitea/eve/app is not in IMPGEM_ALLOW_REPOSITORIES',
    });
    expect(await events()).toBe(0);
  });

  it('that was ignored is taken when it comes again and the repository is allowed by now', async () => {
    await deliver('other', 'eve/app');
    isAllowed = createAllowList('gitea/eve/*');
    expect(await deliver('other', 'eve/app')).toMatchObject({ result: 'accepted' });
    expect(await fixture.deliveries.get('other')).toMatchObject({ state: 'queued', tries: 1 });
    expect(await deliver('other', 'eve/app')).toMatchObject({ result: 'duplicate' });
    expect(await events()).toBe(1);
  });

  it('tells of its push, also when it asks for no run', async () => {
    const push = { repository: 'gitea/ann/app', ref: 'refs/heads/main' };
    await deliver('told');
    expect(await fixture.pushes.toldBy({ ...push, sha: 'b'.repeat(40) })).toBeDefined();
    const bytes = Buffer.from(JSON.stringify(pushBody('ann/app', 'main', 'b'.repeat(40), 'c'.repeat(40), '[skip ci]')));
    const answer = await receive('gitea', signDelivery('gitea', SECRET, bytes, { delivery: 'skipped' }), bytes);
    expect(answer).toMatchObject({ result: 'ignored' });
    expect(await fixture.pushes.toldBy({ ...push, sha: 'c'.repeat(40) })).toBeDefined();
  });

  it('that failed is taken again, as a new try which alone says how it ended', async () => {
    await deliver('again');
    await fixture.deliveries.conclude({ forge: 'gitea', id: 'again' }, 1, {
      state: 'failed',
      reason: 'no remote',
      runs: [],
    });
    expect(await deliver('again')).toMatchObject({ result: 'accepted' });
    await fixture.deliveries.conclude({ forge: 'gitea', id: 'again' }, 1, {
      state: 'failed',
      reason: 'late news of the first',
      runs: [],
    });
    expect(await fixture.deliveries.get('again')).toMatchObject({ state: 'queued', tries: 2 });
  });

  it('of another repository does not wait for a hundred of one, and those of one stay in order', async () => {
    const taken: string[] = [];
    const blocking = connectRedis(fixture.server.url, 'patient', () => undefined);
    const big = Array.from({ length: 100 }, (_, index) => `big-${index}`);
    for (const delivery of big) await deliver(delivery, 'ann/big');
    await deliver('small', 'ann/small');
    const consumer = consume<EventPayload>(
      { name: EVENT_QUEUE, redis: blocking, concurrency: 1, lockMs: 10_000, onError: () => undefined },
      async ({ event, turn }) => {
        await createTurns(fixture.redis).serve(EVENT_QUEUE, turn);
        taken.push(event.delivery ?? '');
        // Half of them are behind it by now.
        if (taken.length === 50) await deliver('late', 'ann/late');
        return undefined;
      },
    );
    await expect.poll(() => taken.length, { timeout: 20_000 }).toBe(102);
    await consumer.close();
    blocking.disconnect();
    expect(taken.filter((each) => each.startsWith('big'))).toEqual(big);
    expect(taken.indexOf('small')).toBe(1);
    expect(taken.indexOf('late')).toBeLessThanOrEqual(51);
  });

  it('of one forge is no duplicate of another forge that uses the same id', async () => {
    const head = { id: 'same', forge: 'github', event: 'push', repository: 'github/eve/app' };
    // As GitHub's own: whoever may sign there cannot silence a push of Gitea ahead of it.
    await fixture.deliveries.accept({ ...head, receivedAt: '2030-01-01T00:00:00.000Z' });
    expect(await deliver('same')).toMatchObject({ result: 'accepted' });
    expect(await deliver('same')).toMatchObject({ result: 'duplicate' });
    await fixture.deliveries.conclude({ forge: 'gitea', id: 'same' }, 1, { state: 'ignored', runs: [] });
    expect(await fixture.deliveries.get('same', 'gitea')).toMatchObject({ forge: 'gitea', state: 'ignored' });
    expect(await fixture.deliveries.get('same', 'github')).toMatchObject({ forge: 'github', state: 'queued' });
    // Received later, if that was said rightly.
    expect(await fixture.deliveries.get('same')).toMatchObject({ forge: 'github' });
    expect(await fixture.deliveries.get('none')).toBeUndefined();
  });

  it('that failed and comes again is planned once, though events of both tries are in the queue', async () => {
    const repository = await fixture.repository('ann/once');
    const sha = await repository.commit({ '.impgem.yml': 'steps: [{ run: "true" }]\n' });
    const bytes = Buffer.from(JSON.stringify(pushBody('ann/once', 'main', '0'.repeat(40), sha, 'Change')));
    const send = () => receive('gitea', signDelivery('gitea', SECRET, bytes, { delivery: 'twice' }), bytes);
    await send();
    await fixture.deliveries.conclude({ forge: 'gitea', id: 'twice' }, 1, {
      state: 'failed',
      reason: 'no remote',
      runs: [],
    });
    await send();
    const planned: Promise<unknown>[] = [];
    const blocking = connectRedis(fixture.server.url, 'patient', () => undefined);
    const consumer = consume<EventPayload>(
      { name: EVENT_QUEUE, redis: blocking, concurrency: 4, lockMs: 10_000, onError: () => undefined },
      ({ event, tries }) => {
        const done = fixture.planner.handle(event, tries);
        planned.push(done);
        return done;
      },
    );
    await expect.poll(async () => (await fixture.deliveries.get('twice'))?.state, { timeout: 20_000 }).toBe('planned');
    await expect.poll(events, { timeout: 20_000 }).toBe(0);
    await Promise.all(planned);
    await consumer.close();
    blocking.disconnect();
    expect((await fixture.runs.store.list({ sha, limit: 10 })).runs).toHaveLength(1);
  });
});

describe('while Redis is away', () => {
  it('deliveries go to the journal, and from there into the queue, once each', async () => {
    await fixture.server.kill();
    const results = await Promise.all(['a', 'b', 'c', 'c'].map((delivery) => deliver(delivery)));
    expect(results.map((each) => each.result)).toEqual(['accepted', 'accepted', 'accepted', 'accepted']);
    expect(journal.pending()).toBe(4);
    const back = new Promise((resolve) => quick.once('ready', resolve));
    await fixture.server.start();
    await back;
    const enqueue = createEnqueue({
      deliveries: createDeliveries(quick),
      queues,
      turns: createEventTurns(quick),
      pushes: createPushes(quick),
    });
    await journal.replay(async (entry) => {
      await enqueue(entry);
    });
    expect(journal.pending()).toBe(0);
    expect(await events()).toBe(3);
  });

  it('what is no delivery in a journal that somebody edited holds up no replay', async () => {
    const folder = join(fixture.folder, `journal-${opened++}`);
    mkdirSync(folder);
    const lines = ['null', '5', '{}', '{"head":{}}', JSON.stringify({ head: { id: 'a' }, event: { repository: 'r' } })];
    writeFileSync(join(folder, `00000001-00000000-${host}-1-0.jsonl`), lines.join('\n'));
    const edited = await openJournal({ folder, isEntry: isAcceptedDelivery, maxBytes: 20_000 });
    const replayed: string[] = [];
    await edited.replay(({ head }) => Promise.resolve(void replayed.push(head.id)));
    expect(replayed).toEqual(['a']);
    await edited.close();
  });

  it('a full journal refuses, and says that it may be tried again', async () => {
    await fixture.server.kill();
    const outcomes = await Promise.allSettled(Array.from({ length: 60 }, (_, index) => deliver(`full-${index}`)));
    const back = new Promise((resolve) => quick.once('ready', resolve));
    await fixture.server.start();
    await back;
    const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
    expect(refused.length).toBeGreaterThan(0);
    expect(refused.length).toBeLessThan(60);
    for (const { reason } of refused) expect(reason).toMatchObject({ code: 'journal-full', retryable: true });
    expect(journal.pending()).toBe(60 - refused.length);
  });

  it('a Redis that refuses writes (maxmemory) counts as away', async () => {
    await fixture.redis.config('SET', 'maxmemory', '1');
    try {
      expect(await deliver('oom')).toMatchObject({ result: 'accepted' });
      expect(journal.pending()).toBe(1);
    } finally {
      await fixture.redis.config('SET', 'maxmemory', '0');
    }
  });
});
