import { EventEmitter, once } from 'node:events';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type JobConsumers, createJobConsumers } from '../../src/cli/job-consumers.ts';
import { type Redis, connectRedis } from '../../src/queue/connection.ts';
import { type Queues, type TicketPayload, consume, createQueues, jobQueueName } from '../../src/queue/queues.ts';
import { type TestRedis, startRedis } from '../support/redis.ts';

const fail = (message: string): void => {
  throw new Error(message);
};
const GPU = jobQueueName(['gpu']);
const ARM = jobQueueName(['arm']);

let server: TestRedis;
let redis: Redis;
let queues: Queues;

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
  queues = createQueues(redis, fail);
  return () => queues.close();
});

const add = (label: string, run: string, delayMs = 0): Promise<void> =>
  queues.addTicket({ run, job: 'main', fence: 0, turn: 1 }, { labels: [label], delayMs });

/** A worker with the label `gpu`; `taken()` waits for the next ticket. */
function startWorker({
  labels = ['gpu'],
  limit = 1,
  take = () => Promise.resolve(),
}: { labels?: string[]; limit?: number; take?: (ticket: TicketPayload) => Promise<void> } = {}): {
  consumers: JobConsumers;
  errors: string[];
  taken: () => Promise<string>;
  putBack: () => Promise<string>;
  close: () => Promise<void>;
} {
  const blocking = connectRedis(server.url, 'patient', () => undefined);
  const heard = new EventEmitter();
  const errors: string[] = [];
  const consumers = createJobConsumers({
    labels,
    limit,
    all: () => queues.labelled.all(),
    consume: (name, handle) =>
      consume<TicketPayload>(
        { name, redis: blocking, concurrency: limit, lockMs: 15_000, onError: fail },
        async (ticket) => {
          const again = await handle(ticket);
          if (again !== undefined) heard.emit('put back', ticket.run);
          return again;
        },
      ),
    hasRoom: () => Promise.resolve(true),
    async take(ticket) {
      await take(ticket);
      heard.emit('taken', ticket.run);
    },
    onError: (message) => errors.push(message),
  });
  return {
    consumers,
    errors,
    taken: async () => String((await once(heard, 'taken'))[0]),
    putBack: async () => String((await once(heard, 'put back'))[0]),
    async close() {
      await consumers.close();
      blocking.disconnect();
    },
  };
}

describe('a queue of labels', () => {
  it('that is empty and was not used for long is forgotten with all its keys', async () => {
    await add('gpu', 'r1');
    const worker = startWorker();
    const taken = worker.taken();
    await worker.consumers.follow();
    expect(await taken).toBe('r1');
    await worker.close();
    expect(await queues.labelled.forgetUnused()).toEqual([]);
    expect(await queues.labelled.forgetUnused(-1)).toEqual([GPU]);
    expect(await queues.labelled.all()).toEqual([]);
    expect((await redis.keys('*')).filter((key) => key.includes('gpu'))).toEqual([]);
    expect(Object.keys(await queues.counts())).not.toContain(GPU);
  });

  it('is held open among the last that were used only, however many there are', async () => {
    const before = redis.listenerCount('error');
    const labels = Array.from({ length: 150 }, (_, index) => `label-${index}`);
    await Promise.all(labels.map((label) => add(label, 'r1')));
    expect(Object.keys(await queues.counts())).toHaveLength(153);
    for (const label of labels)
      expect(await queues.hasTicket({ run: 'r1', job: 'main', fence: 0 }, [label])).toBe(true);
    await expect.poll(() => redis.listenerCount('error') - before).toBe(100);
  });

  it('that holds something stays, however old', async () => {
    await add('gpu', 'r1');
    await add('arm', 'r2', 3_600_000);
    expect(await queues.labelled.forgetUnused(-1)).toEqual([]);
    expect(await queues.labelled.all()).toEqual(expect.arrayContaining([GPU, ARM]));
    expect(await queues.counts()).toMatchObject({ [GPU]: { prioritized: 1 }, [ARM]: { delayed: 1 } });
  });

  it('whose ticket waits is known again if it was not, and its workers are told', async () => {
    await add('gpu', 'r1');
    await redis.del('ig:label-queues:by-use');
    const subscriber = connectRedis(server.url, 'patient', fail);
    await subscriber.subscribe('ig:label-queues');
    const told = once(subscriber, 'message');
    expect(await queues.hasTicket({ run: 'r1', job: 'main', fence: 0 }, ['gpu'])).toBe(true);
    expect(await told).toEqual(['ig:label-queues', GPU]);
    expect(await queues.labelled.all()).toEqual([GPU]);
    subscriber.disconnect();
  });

  it('that is used again after it was forgotten is served again', async () => {
    await add('gpu', 'r1');
    const worker = startWorker();
    const first = worker.taken();
    await worker.consumers.follow();
    expect(await first).toBe('r1');
    // The ticket leaves the queue a moment after it was taken.
    await expect.poll(() => queues.labelled.forgetUnused(-1)).toEqual([GPU]);
    await worker.consumers.follow();
    const second = worker.taken();
    await add('gpu', 'r2');
    worker.consumers.serve(GPU);
    expect(await second).toBe('r2');
    await worker.close();
  });

  it('is not served by a worker that is paused, although it was waiting for the next ticket already', async () => {
    await add('gpu', 'r1');
    const [worker, other] = [startWorker(), startWorker()];
    const first = worker.taken();
    await worker.consumers.follow();
    expect(await first).toBe('r1');
    // On both of its queues.
    const waiting = async () => String(await redis.client('LIST')).match(/ cmd=bzpopmin /g)?.length;
    await expect.poll(waiting, { timeout: 20_000 }).toBe(2);
    await worker.consumers.pause();
    await add('gpu', 'r2');
    const putBack = worker.putBack();
    expect(await putBack).toBe('r2');
    const second = other.taken();
    await other.consumers.follow();
    expect(await second).toBe('r2');
    await Promise.all([worker.close(), other.close()]);
  });

  it('is not served by a worker without its labels, nor by one that is paused', async () => {
    await add('arm', 'r1');
    const worker = startWorker();
    await worker.consumers.pause();
    await add('gpu', 'r2');
    await worker.consumers.follow();
    expect(await queues.counts()).toMatchObject({ [GPU]: { prioritized: 1 }, [ARM]: { prioritized: 1 } });
    const taken = worker.taken();
    await worker.consumers.resume();
    expect(await taken).toBe('r2');
    expect(await queues.counts()).toMatchObject({ [ARM]: { prioritized: 1 } });
    await worker.close();
  });
});

describe('a worker of several queues', () => {
  it('has no more jobs at once than it may, and serves each queue', async () => {
    const lines = { 'gpu-': ['gpu'], 'arm-': ['arm'], 'both-': ['gpu', 'arm'], 'any-': [] };
    for (const [name, labels] of Object.entries(lines))
      for (let turn = 1; turn <= 10; turn++)
        await queues.addTicket({ run: `${name}${turn}`, job: 'main', fence: 0, turn }, { labels, delayMs: 0 });
    const served: string[] = [];
    let running = 0;
    let most = 0;
    const worker = startWorker({
      labels: ['gpu', 'arm'],
      limit: 2,
      async take({ run }) {
        most = Math.max(most, ++running);
        served.push(run);
        // As long as it takes Redis to answer those who ask for more meanwhile.
        for (let asked = 0; asked < 20; asked++) await redis.ping();
        running--;
      },
    });
    await worker.consumers.follow();
    await expect.poll(() => served.length, { timeout: 30_000 }).toBe(40);
    expect(most).toBe(2);
    expect(new Set(served).size).toBe(40);
    // No line is through before each other line was served.
    const firsts = Object.keys(lines).map((name) => served.findIndex((run) => run.startsWith(name)));
    const lasts = Object.keys(lines).map((name) => served.findLastIndex((run) => run.startsWith(name)));
    expect(Math.max(...firsts)).toBeLessThan(Math.min(...lasts));
    expect(worker.errors).toEqual([]);
    await worker.close();
  });
});

describe('a ticket that could not be claimed', () => {
  it('waits, and those behind it too, until it can be', async () => {
    let isFull = true;
    const tried: string[] = [];
    for (const turn of [1, 2, 3])
      await queues.addTicket({ run: `r${turn}`, job: 'main', fence: 0, turn }, { labels: [], delayMs: 0 });
    const worker = startWorker({
      take: ({ run }) => {
        tried.push(run);
        return isFull ? Promise.reject(new Error('refused')) : Promise.resolve();
      },
    });
    await worker.consumers.follow();
    await expect.poll(() => new Set(tried).size).toBe(3);
    expect(worker.errors).toContain('job main of run r1 could not be claimed: refused');
    isFull = false;
    tried.length = 0;
    await expect.poll(() => tried, { timeout: 10_000 }).toHaveLength(3);
    await expect
      .poll(() => queues.counts())
      .toMatchObject({ jobs: { prioritized: 0, delayed: 0, active: 0, failed: 0 } });
    await worker.close();
  });

  it('and was given up makes room for another', async () => {
    const ticket = { run: 'r1', job: 'main', fence: 0 };
    await queues.addTicket({ ...ticket, turn: 1 }, { labels: [], delayMs: 0 });
    // As an older version kept it.
    await redis.zrem('impgem:jobs:prioritized', 'r1.main.0');
    await redis.zadd('impgem:jobs:failed', 1, 'r1.main.0');
    expect(await queues.hasTicket(ticket, [])).toBe(false);
    await queues.addTicket({ ...ticket, turn: 1 }, { labels: [], delayMs: 0 });
    expect(await queues.hasTicket(ticket, [])).toBe(true);
  });
});
