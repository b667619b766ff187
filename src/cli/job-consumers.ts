import { messageOf } from '../errors.ts';
import { type Consumer, type TicketPayload, jobQueueName, labelsOfQueue } from '../queue/queues.ts';
import { createSlots } from './slots.ts';

export interface JobConsumersDeps {
  /** The worker's own. */
  labels: readonly string[];
  /** How many jobs at once, whatever queues they come from. */
  limit: number;
  /** Queues with labels that there are. */
  all: () => Promise<string[]>;
  /** `handle` gives back ms after which the ticket is there again, for us or others. */
  consume: (queue: string, handle: (ticket: TicketPayload) => Promise<number | undefined>) => Consumer;
  /** Whether a job can be run just now; false when soon we are paused for it. */
  hasRoom: () => Promise<boolean>;
  /** Claims the job and runs it to its end. Throws when it could not be claimed. */
  take: (ticket: TicketPayload) => Promise<void>;
  onError: (message: string) => void;
}

/** What a worker takes jobs from: the queue without labels, and those whose labels it has. */
export interface JobConsumers {
  /** Serves this queue if it is ours to serve. */
  serve: (queue: string) => void;
  /** Serves what there is now, and lets go of queues that are no more. To be called now and then: news may be missed. */
  follow(): Promise<void>;
  /** One ticket more may come, as a blocking read is under way: it is put back. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  close(): Promise<void>;
}

/** After which a ticket that came to a worker that takes none is there for others. */
const PUT_BACK_MS = 50;
/** After which one that could not be claimed (Redis takes no writes, the run changes too quickly) is tried again. */
const UNCLAIMED_MS = 1000;

export function createJobConsumers({
  labels,
  limit,
  all,
  consume,
  hasRoom,
  take,
  onError,
}: JobConsumersDeps): JobConsumers {
  const consumers = new Map<string, Consumer>();
  const slots = createSlots(limit);
  let paused = false;
  /** One queue alone is bounded by its consumer, which goes from ticket to ticket quicker when it is not stopped. */
  const gate = async (): Promise<void> => {
    const shut = paused || (consumers.size > 1 && slots.free() === 0);
    await Promise.all([...consumers.values()].map((one) => (shut ? one.pause() : one.resume())));
  };
  const gateSoon = (): void => void gate().catch((error: unknown) => onError(messageOf(error)));
  const handle = async (queue: string, ticket: TicketPayload): Promise<number | undefined> => {
    if (paused || !slots.enter(queue)) return PUT_BACK_MS;
    gateSoon();
    try {
      if (!(await hasRoom())) return PUT_BACK_MS;
      await take(ticket);
      return undefined;
    } catch (error) {
      onError(`job ${ticket.job} of run ${ticket.run} could not be claimed: ${messageOf(error)}`);
      return UNCLAIMED_MS;
    } finally {
      slots.leave();
      gateSoon();
    }
  };
  const serve = (queue: string): void => {
    if (consumers.has(queue) || !labelsOfQueue(queue).every((label) => labels.includes(label))) return;
    consumers.set(
      queue,
      consume(queue, (ticket) => handle(queue, ticket)),
    );
    gateSoon();
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
      await gate();
    },
    async pause() {
      paused = true;
      await gate();
    },
    async resume() {
      paused = false;
      await gate();
    },
    async close() {
      await Promise.all([...consumers.values()].map((consumer) => consumer.close()));
    },
  };
}
