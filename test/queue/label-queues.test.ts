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
function startWorker(): {
  consumers: JobConsumers;
  taken: () => Promise<string>;
  putBack: () => Promise<string>;
  close: () => Promise<void>;
} {
  const blocking = connectRedis(server.url, 'patient', () => undefined);
  const heard = new EventEmitter();
  const consumers = createJobConsumers({
    labels: ['gpu'],
    all: () => queues.labelled.all(),
    consume: (name) =>
      consume<TicketPayload>({ name, redis: blocking, concurrency: 1, lockMs: 15_000, onError: fail }, ({ run }) => {
        if (consumers.isPaused()) {
          heard.emit('put back', run);
          return Promise.resolve(50);
        }
        heard.emit('taken', run);
        return Promise.resolve(undefined);
      }),
  });
  return {
    consumers,
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
