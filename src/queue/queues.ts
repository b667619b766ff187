/** The BullMQ queues, their payloads and their rules, in one place. Payloads hold ids and events only, never a secret. */
import { DelayedError, type Job, Queue, Worker } from 'bullmq';
import { type Redis, isRedisFull } from './connection.ts';
import { type LabelQueues, createLabelQueues } from './label-queues.ts';
import { messageOf } from '../errors.ts';
import type { PipelineEvent } from '../runs/event.ts';

const PREFIX = 'impgem';

/** An accepted event, to be planned. */
export interface EventPayload {
  event: PipelineEvent;
  /** 1, or more for a redelivery of one that failed. */
  tries: number;
  /** Its place in the fair order, see turns.ts. */
  turn: number;
}

/** A ticket: works only while the job's fence is still this one, so an old or doubled ticket does nothing. */
export interface TicketPayload {
  run: string;
  job: string;
  fence: number;
  /** Its place in the fair order, see turns.ts. */
  turn: number;
}

/** The job's status is to be looked at and posted if it changed. */
export interface StatusPayload {
  run: string;
  job: string;
}

export interface Queues {
  addEvent(id: string, payload: EventPayload): Promise<void>;
  /** Whether the event waits, is being planned or is put off. */
  hasEvent(id: string): Promise<boolean>;
  addTicket(ticket: TicketPayload, options: TicketOptions): Promise<void>;
  /** Whether a ticket of this fence waits or is being served. One that failed makes room for another. */
  hasTicket(ticket: Omit<TicketPayload, 'turn'>, labels: string[]): Promise<boolean>;
  /** Takes a ticket out that waits and is not needed any more; one that is being served stays. */
  removeTicket(ticket: Omit<TicketPayload, 'turn'>, labels: string[]): Promise<void>;
  addStatus(line: string, payload: StatusPayload): Promise<void>;
  /** Whether something of the line waits, is put off or is being served. */
  hasStatus(line: string): Promise<boolean>;
  /**
   * What is put off is due at a time of the wall clock. Once that was set back, this puts off anew what is due later than
   * it ever could be. Gives how many entries that were.
   */
  shortenDelays(): Promise<number>;
  labelled: Pick<LabelQueues, 'all' | 'forgetUnused'>;
  counts(): Promise<Record<string, Record<string, number>>>;
  close(): Promise<void>;
}

export interface TicketOptions {
  labels: string[];
  delayMs: number;
}

/**
 * The queue of the jobs that need these labels; without labels any worker serves it. Labels are a stranger's text, and in
 * the name of a queue neither `:` (BullMQ's) nor `+` (ours) may stand.
 */
export function jobQueueName(labels: readonly string[]): string {
  // Through a buffer: half a surrogate pair is nothing that encodeURIComponent takes.
  const known = [...new Set(labels.map((label) => encodeURIComponent(Buffer.from(label).toString())))].sort();
  return known.length === 0 ? 'jobs' : `jobs-${known.join('+')}`;
}

/** The labels that the name of a job queue stands for. */
export function labelsOfQueue(name: string): string[] {
  return name.startsWith('jobs-') ? name.slice('jobs-'.length).split('+').map(decodeURIComponent) : [];
}

/** Clocks of the machines that put off and that look may differ by less. */
const CLOCK_SLACK_MS = 60_000;

// Ids of entries that are due later than so long after now as they were put off. BullMQ's scores are ms times 4096.
const TOO_LATE = `
local late = {}
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[1] * 4096, '+inf', 'WITHSCORES')
for at = 1, #found, 2 do
  local delay = tonumber(redis.call('HGET', ARGV[2] .. found[at], 'delay') or 0)
  if found[at + 1] / 4096 > ARGV[1] + delay then late[#late + 1] = found[at] end
end
return late
`;

const ticketId = (ticket: Omit<TicketPayload, 'turn'>): string => `${ticket.run}.${ticket.job}.${ticket.fence}`;

/** Labels are a stranger's text, so there may be any number of queues; those that were used longest ago are closed. */
const MAX_OPEN = 100;

export const EVENT_QUEUE = 'events';
export const STATUS_QUEUE = 'statuses';

export function createQueues(redis: Redis, onError: (message: string) => void): Queues {
  const labelled = createLabelQueues(redis, PREFIX);
  redis.defineCommand('igTooLate', { lua: TOO_LATE });
  const commands = redis as unknown as {
    igTooLate(count: number, delayed: string, latest: number, prefix: string): Promise<string[]>;
  };
  // One after the other where it is used: there may be many.
  const names = async (): Promise<string[]> => [EVENT_QUEUE, STATUS_QUEUE, jobQueueName([]), ...(await labelled.all())];
  /** The one that was used last comes last. */
  const queues = new Map<string, { queue: Queue; users: number }>();
  const open = (name: string): Queue => {
    const queue = new Queue(name, {
      connection: redis,
      prefix: PREFIX,
      skipVersionCheck: true,
      skipWaitingForReady: true,
      streams: { events: { maxLen: 100 } },
      defaultJobOptions: { removeOnComplete: true, removeOnFail: { count: 1000 }, stackTraceLimit: 1 },
    });
    queue.on('error', (error) => {
      onError(`queue ${name}: ${messageOf(error)}`);
    });
    return queue;
  };
  const using = async <T>(name: string, what: (queue: Queue) => Promise<T>): Promise<T> => {
    const entry = queues.get(name) ?? { queue: open(name), users: 0 };
    queues.delete(name);
    queues.set(name, entry);
    entry.users++;
    try {
      return await what(entry.queue);
    } finally {
      entry.users--;
      closeOldest();
    }
  };
  const closeOldest = (): void => {
    for (const [name, { queue, users }] of queues) {
      if (queues.size <= MAX_OPEN) return;
      if (users > 0) continue;
      queues.delete(name);
      queue.close().catch((error: unknown) => onError(`queue ${name}: ${messageOf(error)}`));
    }
  };
  return {
    async addEvent(id, payload) {
      // The key of the delivery dedupes; the job id only keeps a doubled add of one request harmless.
      await using(EVENT_QUEUE, (queue) =>
        queue.add('event', payload, {
          jobId: id,
          priority: payload.turn,
          // What cannot be fetched ends as a failed run; only Redis itself can make planning throw, and it comes back.
          attempts: 1_000_000,
          backoff: { type: 'fixed', delay: 2000 },
        }),
      );
    },
    hasEvent: (id) => using(EVENT_QUEUE, async (queue) => (await queue.getJobState(id)) !== 'unknown'),
    async addTicket(ticket, { labels, delayMs }) {
      const name = jobQueueName(labels);
      if (labels.length > 0) await labelled.use(name);
      await using(name, (queue) =>
        queue.add('job', ticket, {
          jobId: ticketId(ticket),
          priority: ticket.turn,
          // A ticket that is kept keeps out the next one of the same job and fence.
          removeOnFail: true,
          ...(delayMs > 0 ? { delay: delayMs } : {}),
        }),
      );
    },
    async hasTicket(ticket, labels) {
      const name = jobQueueName(labels);
      if (labels.length > 0) await labelled.keep(name);
      return using(name, async (queue) => {
        const state = await queue.getJobState(ticketId(ticket));
        if (state === 'failed') await queue.remove(ticketId(ticket));
        return state !== 'failed' && state !== 'unknown';
      });
    },
    async removeTicket(ticket, labels) {
      await using(jobQueueName(labels), (queue) => queue.remove(ticketId(ticket)));
    },
    async addStatus(line, payload) {
      // One post at a time of each line; what changes meanwhile is looked at once more afterwards.
      await using(STATUS_QUEUE, (queue) =>
        queue.add('status', payload, { deduplication: { id: line, keepLastIfActive: true } }),
      );
    },
    hasStatus: (line) => using(STATUS_QUEUE, async (queue) => (await queue.getDeduplicationJobId(line)) !== null),
    async shortenDelays() {
      let count = 0;
      for (const name of await names())
        await using(name, async (queue) => {
          const latest = Date.now() + CLOCK_SLACK_MS;
          for (const id of await commands.igTooLate(1, queue.toKey('delayed'), latest, queue.toKey(''))) {
            const job = await queue.getJob(id);
            await job?.changeDelay(job.delay);
            count++;
          }
        });
      return count;
    },
    labelled,
    async counts() {
      const counts: Record<string, Record<string, number>> = {};
      for (const name of await names())
        counts[name] = await using(name, (queue) =>
          queue.getJobCounts('wait', 'prioritized', 'active', 'delayed', 'failed'),
        );
      return counts;
    },
    async close() {
      await Promise.all([...queues.values()].map(({ queue }) => queue.close()));
    },
  };
}

export interface Consumer {
  /** Takes nothing new and waits for what is under way; with `force` it does not wait. */
  close(force?: boolean): Promise<void>;
  /** Takes nothing new, and does not wait for what is under way. */
  pause(): Promise<void>;
  resume(): Promise<void>;
}

/** Gives back ms to look at the same payload again later, or nothing when it is done. */
export type Handler<P> = (
  payload: P,
  delivery: { attempt: number; id: string; addedAt: number },
) => Promise<number | undefined>;

export interface ConsumeOptions {
  name: string;
  /** For blocking reads. */
  redis: Redis;
  /** How many are handled at once. */
  concurrency: number;
  /**
   * ms after which what a dead process was handling is handled again. May be short where doing a thing twice is
   * harmless; tickets have leases of their own.
   */
  lockMs: number;
  /** Hears of each entry that was taken back from a process that died. */
  onStalled?: () => void;
  onError: (message: string) => void;
}

/** Before Redis is asked again that is away or takes no writes. */
const RETRY_MS = 1000;

/** Serves a queue. */
export function consume<P>(
  { name, redis, concurrency, lockMs, onStalled, onError }: ConsumeOptions,
  handle: Handler<P>,
): Consumer {
  const worker = new Worker<P>(
    name,
    async (job: Job<P>, token?: string) => {
      const again = await handle(job.data, { attempt: job.attemptsStarted, id: job.id ?? '', addedAt: job.timestamp });
      if (again === undefined) return;
      await job.moveToDelayed(Date.now() + again, token);
      throw new DelayedError();
    },
    {
      connection: redis,
      prefix: PREFIX,
      concurrency,
      lockDuration: lockMs,
      stalledInterval: lockMs / 2,
      // Our own fences make a second delivery harmless, so a stalled ticket is never thrown away.
      maxStalledCount: 1000,
      removeOnComplete: { count: 0 },
      removeOnFail: { count: 1000 },
      drainDelay: 5,
      runRetryDelay: RETRY_MS,
    },
  );
  worker.on('stalled', () => onStalled?.());
  let paused = false;
  let rest: NodeJS.Timeout | undefined;
  worker.on('error', (error) => {
    onError(`queue ${name}: ${messageOf(error)}`);
    // It would ask for the next one again at once, thousands of times a second.
    if (!isRedisFull(error) || rest !== undefined) return;
    void worker.pause(true);
    rest = setTimeout(() => {
      rest = undefined;
      if (!paused) void worker.resume();
    }, RETRY_MS);
  });
  return {
    close(force = false) {
      clearTimeout(rest);
      return worker.close(force);
    },
    pause() {
      paused = true;
      return worker.pause(true);
    },
    async resume() {
      paused = false;
      if (rest === undefined) await worker.resume();
    },
  };
}
