import { type Consumer, jobQueueName, labelsOfQueue } from '../queue/queues.ts';

export interface JobConsumersDeps {
  /** The worker's own. */
  labels: readonly string[];
  /** Queues with labels that there are. */
  all: () => Promise<string[]>;
  consume: (queue: string) => Consumer;
}

/** What a worker takes jobs from: the queue without labels, and those whose labels it has. */
export interface JobConsumers {
  /** Serves this queue if it is ours to serve. */
  serve: (queue: string) => void;
  /** Serves what there is now, and lets go of queues that are no more. To be called now and then: news may be missed. */
  follow(): Promise<void>;
  /** One ticket more may come, as a blocking read is under way: see `isPaused`. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** What still comes is to be put back, for another worker or for later. */
  isPaused(): boolean;
  close(): Promise<void>;
}

export function createJobConsumers({ labels, all, consume }: JobConsumersDeps): JobConsumers {
  const consumers = new Map<string, Consumer>();
  let paused = false;
  const each = async (what: (consumer: Consumer) => Promise<void>): Promise<void> => {
    await Promise.all([...consumers.values()].map(what));
  };
  const serve = (queue: string): void => {
    if (consumers.has(queue) || !labelsOfQueue(queue).every((label) => labels.includes(label))) return;
    const consumer = consume(queue);
    consumers.set(queue, consumer);
    if (paused) void consumer.pause();
  };
  const base = jobQueueName([]);
  return {
    serve,
    async follow() {
      serve(base);
      if (labels.length === 0) return;
      const there = new Set(await all());
      const gone = [...consumers].filter(([queue]) => queue !== base && !there.has(queue));
      for (const [queue] of gone) consumers.delete(queue);
      await Promise.all(gone.map(([, consumer]) => consumer.close()));
      // Read again: one that came back meanwhile found its consumer on its way out, or was served by a new one.
      for (const queue of gone.length > 0 ? await all() : there) serve(queue);
    },
    async pause() {
      paused = true;
      await each((consumer) => consumer.pause());
    },
    async resume() {
      paused = false;
      await each((consumer) => consumer.resume());
    },
    isPaused: () => paused,
    close: () => each((consumer) => consumer.close()),
  };
}
