/** A worker's side of the lifecycle: claims a ticket, keeps the lease, batches the news of steps, hears of cancels. */
import { setTimeout } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { InfrastructureError, LostJobError, messageOf } from '../errors.ts';
import { isRedisAway, isRedisFull } from '../queue/connection.ts';
import { type TicketPayload, jobQueueName } from '../queue/queues.ts';
import type { Turns } from '../queue/turns.ts';
import type { Assignment, HeldJob, StateReporter } from '../worker/ports.ts';
import type { Lease, Leases } from './leases.ts';
import type { Lifecycle, StepNews } from './lifecycle.ts';
import { jobOf, specOf } from './lookups.ts';
import { needsOf } from './needs-of.ts';
import type { Plan } from './plan.ts';
import type { RedisRunStore } from './redis-store.ts';
import type { RunRecord } from './run.ts';

export interface JobSource {
  /** Undefined when the ticket no longer works. */
  claim(ticket: TicketPayload): Promise<HeldJob | undefined>;
  /** Renews all leases and looks for missed cancels; to be called every few seconds. */
  beat(): Promise<void>;
  /** The run has something to end: look whether it is ours. */
  check(run: string): Promise<void>;
}

export interface JobSourceDeps {
  worker: string;
  store: RedisRunStore;
  lifecycle: Lifecycle;
  leases: Leases;
  turns: Turns;
  links(record: RunRecord): Assignment['links'];
  onError(message: string): void;
}

interface Holding {
  lease: Lease;
  cancel: AbortController;
  lost: boolean;
}

const FIRST_DELAY_MS = 100;
const MAX_DELAY_MS = 3000;

/**
 * What became of a job stays what it is while Redis takes no writes: it is written when it can be. Whether a try was
 * written all the same does not matter, as the next one then finds the job no longer ours.
 */
async function untilWritten<T>(write: () => Promise<T>, onError: (message: string) => void): Promise<T> {
  for (let delay = FIRST_DELAY_MS; ; delay = Math.min(delay * 2, MAX_DELAY_MS)) {
    try {
      return await write();
    } catch (error) {
      const canHelp =
        isRedisFull(error) || isRedisAway(error) || (error instanceof InfrastructureError && error.retryable);
      if (!canHelp) throw error;
      onError(`could not be written and is tried again: ${messageOf(error)}`);
      await setTimeout(delay);
    }
  }
}

function lose(holding: Holding): void {
  holding.lost = true;
  holding.cancel.abort(new LostJobError(`Job ${holding.lease.job} of run ${holding.lease.run}`));
}

export function createJobSource(deps: JobSourceDeps): JobSource {
  const holdings = new Set<Holding>();

  const check = async (run: string): Promise<void> => {
    const ours = [...holdings].filter((one) => one.lease.run === run);
    if (ours.length === 0) return;
    const record = await deps.store.get(run);
    for (const holding of ours) {
      const control = record?.control[holding.lease.job];
      // An earlier fence: our claim is still on its way.
      if (control && control.fence < holding.lease.fence) continue;
      if (control?.fence !== holding.lease.fence) lose(holding);
      else if (control.cancelRequested !== undefined) holding.cancel.abort(control.cancelRequested);
    }
  };

  const hold = (holding: Holding, record: RunRecord, plan: Plan): HeldJob => {
    const { lease } = holding;
    const { run, job, fence } = lease;
    const news = createNews(deps, holding);
    const insist = <T>(write: () => Promise<T>): Promise<T> =>
      untilWritten(write, (message) => deps.onError(`job ${job} of run ${run}: ${message}`));
    return {
      assignment: assignmentOf(record, plan, lease, deps.links(record), []),
      report: news.report,
      cancel: holding.cancel.signal,
      lossReason: record.control[job]?.lossReason,
      async beginAttempt(note) {
        const next = await insist(() => deps.lifecycle.beginAttempt(run, job, fence));
        if (!next) throw new LostJobError(`Job ${job} of run ${run}`);
        return assignmentOf(next, plan, lease, deps.links(next), [note]);
      },
      async end(result) {
        const rest = await news.drain();
        await insist(() => deps.lifecycle.end(run, job, fence, rest, result));
      },
      async handBack(loss) {
        const rest = await news.drain();
        if (rest.length > 0) await insist(() => deps.lifecycle.reportSteps(run, job, fence, rest));
        const why = { counts: loss !== undefined, reason: loss ?? 'handed over' };
        await insist(() => deps.lifecycle.release(run, job, fence, why));
      },
      async letGo() {
        holdings.delete(holding);
        await deps.leases.drop(lease).catch((error: unknown) => {
          deps.onError(`the lease of job ${job} of run ${run} runs out by itself: ${messageOf(error)}`);
        });
      },
    };
  };

  return {
    async claim(ticket) {
      const lease: Lease = { run: ticket.run, job: ticket.job, fence: ticket.fence + 1, worker: deps.worker };
      // Delivered again, as our lock on the ticket ran out: the job is under way here.
      if ([...holdings].some((one) => isDeepStrictEqual(one.lease, lease))) return undefined;
      const holding: Holding = { lease, cancel: new AbortController(), lost: false };
      // Before the claim: a cancel that comes right behind it is for us to hear.
      holdings.add(holding);
      try {
        // The lease first: a crash in between leaves a lease without a job, which expires, never a job without a lease.
        await deps.leases.renew([lease]);
        const [record, plan] = await Promise.all([
          deps.lifecycle.claim(ticket.run, ticket.job, ticket.fence, deps.worker),
          deps.store.plan(ticket.run).then(async (known) => {
            const labels = (known && specOf(known, ticket.job)?.runsOn) ?? [];
            await deps.turns
              .serve(jobQueueName(labels), ticket.turn)
              .catch((error: unknown) => deps.onError(`turns: ${messageOf(error)}`));
            return known;
          }),
        ]);
        if (record && plan) return hold(holding, record, plan);
      } catch (error) {
        holdings.delete(holding);
        throw error;
      }
      holdings.delete(holding);
      await deps.leases.drop(lease);
      return undefined;
    },
    async beat() {
      await deps.leases.renew([...holdings].filter((one) => !one.lost).map((one) => one.lease));
      for (const run of new Set([...holdings].map((one) => one.lease.run))) await check(run);
    },
    check,
  };
}

/**
 * The next step does not wait for the news of the last one to be durable: news is written in order, one write at a
 * time, and what came meanwhile goes into the next. That a job was lost is heard at the next report.
 */
function createNews(deps: JobSourceDeps, holding: Holding): { report: StateReporter; drain(): Promise<StepNews[]> } {
  const { run, job, fence } = holding.lease;
  let waiting: StepNews[] = [];
  let writing: Promise<void> | undefined;
  const write = async (): Promise<void> => {
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      const ours = await deps.lifecycle.reportSteps(run, job, fence, batch).catch((error: unknown) => {
        waiting = [...batch, ...waiting];
        throw error;
      });
      if (!ours) lose(holding);
    }
  };
  return {
    report: {
      step(index, change) {
        if (holding.lost) return Promise.reject(new LostJobError(`Job ${job} of run ${run}`));
        waiting.push({ index, change });
        writing ??= write()
          .catch((error: unknown) => {
            deps.onError(`steps of ${run}/${job} could not be recorded: ${String(error)}`);
          })
          .finally(() => {
            writing = undefined;
          });
        return Promise.resolve();
      },
    },
    /** What is not written yet, for the write that ends the job. */
    async drain() {
      const rest = waiting;
      waiting = [];
      await writing;
      // What could not be written came back.
      const all = [...waiting, ...rest];
      waiting = [];
      return all;
    },
  };
}

/** Everything a runner needs to know about the job, from the record and the plan. */
export function assignmentOf(
  record: RunRecord,
  plan: Plan,
  lease: Lease,
  links: Assignment['links'],
  notes: string[],
): Assignment {
  const { jobs, version: _, control: __, source, ...run } = record;
  const spec = specOf(plan, lease.job);
  const job = jobOf(record, lease.job);
  if (!spec || !job) throw new LostJobError(`Job ${lease.job} of run ${lease.run}`);
  return {
    run,
    event: source,
    spec,
    clone: plan.clone,
    attempt: job.attempt,
    fence: lease.fence,
    needs: needsOf(spec, jobs),
    steps: job.steps,
    takenOver: record.control[lease.job]?.lossReason !== undefined,
    notes,
    trusted: source.pullRequest?.fork !== true,
    links,
  };
}
