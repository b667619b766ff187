import { Queue } from 'bullmq';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { jobQueueName, labelsOfQueue } from '../../src/queue/queues.ts';

/** Text as YAML can hold it, except half a surrogate pair. */
const label = fc.string({ unit: 'binary', minLength: 1, maxLength: 100 });

test('any labels make a name that stands for them again, and that BullMQ takes', () => {
  fc.assert(
    fc.property(fc.uniqueArray(label, { minLength: 1, maxLength: 5 }), (labels) => {
      const name = jobQueueName(labels);
      expect(labelsOfQueue(name).sort()).toEqual([...labels].sort());
      expect(name).not.toContain(':');
    }),
  );
});

test.each(['os:linux', 'a+b', 'linux/amd64', '100%', '\ud800', 'gpu'])('the label %j does', async (one) => {
  const name = jobQueueName([one]);
  expect(labelsOfQueue(name)).toHaveLength(1);
  const queue = new Queue(name, {
    connection: { lazyConnect: true },
    skipWaitingForReady: true,
    skipVersionCheck: true,
  });
  queue.on('error', () => undefined);
  await queue.disconnect();
});

test('one label that looks like two is not two, and plain names stay as they are', () => {
  expect(jobQueueName(['a+b'])).not.toBe(jobQueueName(['a', 'b']));
  expect(jobQueueName(['linux', 'gpu', 'gpu'])).toBe('jobs-gpu+linux');
  expect(jobQueueName([])).toBe('jobs');
});
