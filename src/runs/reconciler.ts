/**
 * Mends what a crash left: jobs whose worker is gone go to another, tickets and statuses that were never queued are
 * queued, runs whose jobs all ended are ended, what a clock that was set back puts off for too long is put off anew.
 * Idempotent; any number of servers may do it at once.
 */
import { messageOf } from '../errors.ts';
import type { Queues } from '../queue/queues.ts';
import { LEASE_MS, type Leases } from './leases.ts';
import type { Lifecycle } from './lifecycle.ts';
import type { RedisRunStore } from './redis-store.ts';
import type { RunRecord } from './run.ts';
import { timeOfRunId } from './run-id.ts';

export interface ReconcilerDeps {
  store: RedisRunStore;
  lifecycle: Lifecycle;
  leases: Leases;
  queues: Pick<Queues, 'shortenDelays'>;
  /** Counts and tells every repair; `mended` says what was amiss. */
  onRepair(kind: string, of?: { run: string; job?: string | undefined; mended?: string }): void;
  /** This server's clock or Redis's was set, by so many ms. */
  onClockJump(whose: 'server' | 'redis', ms: number): void;
  onError(message: string): void;
  intervalMs?: number;
  clock?: Clock;
}

export interface Clock {
  /** ms since 1970; may be set by somebody. */
  wall(): number;
  /** ms since some moment; never set. */
  steady(): number;
}

const SYSTEM_CLOCK: Clock = { wall: () => Date.now(), steady: () => performance.now() };

const LEASE_CHECK_MS = 2000;
const TEND_MS = 15_000;
/** A run this young is still in the hands of whoever created or moved it. */
const YOUNG_MS = 10_000;

export interface Reconciler {
  /** Jobs whose lease ran out. */
  releaseExpired(): Promise<void>;
  /** Every run that is not over. */
  tendAll(): Promise<void>;
  close(): void;
}

export function createReconciler(deps: ReconcilerDeps): Reconciler {
  const clock = deps.clock ?? SYSTEM_CLOCK;
  // After a pause of ours or of Redis, or when a clock jumped, every lease may look expired although its worker is well: it
  // gets time to renew.
  let trustFrom = clock.steady() + LEASE_MS;
  const distrust = (): void => {
    trustFrom = clock.steady() + LEASE_MS;
  };
  let last: { steady: number; wall: number; redis: number; took: number } | undefined;
  const isUsual = (ms: number): boolean => Math.abs(ms) <= LEASE_MS / 2;

  const release = async (run: string, job: string, fence: number, worker: string): Promise<void> => {
    if (await deps.lifecycle.release(run, job, fence, { counts: true, reason: `worker ${worker} was lost` }))
      deps.onRepair('job-released', { run, job });
  };

  const releaseExpired = async (): Promise<void> => {
    const askedAt = clock.steady();
    const expired = await deps.leases.expired();
    // Measured after the answer: a Redis that was away gives it first, and the workers' renewals only then.
    const steady = clock.steady();
    const now = { steady, wall: clock.wall(), redis: expired.at, took: steady - askedAt };
    const passed = last && { steady: steady - last.steady, wall: now.wall - last.wall, redis: now.redis - last.redis };
    // When within an answer that took long Redis looked at its clock, nobody knows.
    const unsure = now.took + (last?.took ?? 0);
    last = now;
    if (!passed || !Object.values(passed).every(isUsual)) distrust();
    if (!passed) return;
    const jumps = { server: passed.wall - passed.steady, redis: passed.redis - passed.steady };
    if (!isUsual(jumps.server)) deps.onClockJump('server', jumps.server);
    if (Math.abs(jumps.redis) > LEASE_MS / 2 + unsure) deps.onClockJump('redis', jumps.redis);
    if (now.steady < trustFrom) return;
    for (const lease of expired.leases) {
      try {
        await release(lease.run, lease.job, lease.fence, lease.worker);
        await deps.leases.drop(lease);
      } catch (error) {
        // A Redis that takes no writes has taken no renewals either.
        distrust();
        throw error;
      }
    }
  };

  /** A running job without any lease: its worker's lease was dropped, or Redis came back without it. */
  const releaseUnleased = async (record: RunRecord): Promise<void> => {
    const running = record.jobs.filter((job) => job.state === 'running');
    if (running.length === 0) return;
    // Looked at after the record: a worker takes the lease before it claims.
    const leased = new Set((await deps.leases.all()).map(({ run, job, fence }) => `${run} ${job} ${fence}`));
    if (clock.steady() < trustFrom) return;
    for (const job of running) {
      const fence = record.control[job.id]?.fence ?? 0;
      if (!leased.has(`${record.id} ${job.id} ${fence}`))
        await release(record.id, job.id, fence, job.worker ?? 'unknown');
    }
  };

  const tendAll = async (): Promise<void> => {
    try {
      const shortened = await deps.queues.shortenDelays();
      for (let count = 0; count < shortened; count++) deps.onRepair('delay-shortened');
    } catch (error) {
      deps.onError(`what is put off could not be looked at: ${messageOf(error)}`);
    }
    for (const id of await deps.store.active()) {
      const age = clock.wall() - timeOfRunId(id);
      // One from the future was made before the clock was set back.
      if (age >= 0 && age < YOUNG_MS) continue;
      try {
        const record = await deps.store.get(id);
        if (record) await releaseUnleased(record);
        for (const { what, job } of await deps.lifecycle.tend(id))
          deps.onRepair('run-tended', { run: id, job, mended: what });
      } catch (error) {
        deps.onError(`run ${id} could not be tended: ${messageOf(error)}`);
      }
    }
  };

  const guard = (what: () => Promise<void>): (() => void) => {
    let busy = false;
    return () => {
      if (busy) return;
      busy = true;
      what()
        .catch((error: unknown) => {
          deps.onError(`reconciler: ${messageOf(error)}`);
        })
        .finally(() => {
          busy = false;
        });
    };
  };
  const timers = [
    setInterval(guard(releaseExpired), deps.intervalMs ?? LEASE_CHECK_MS),
    setInterval(guard(tendAll), TEND_MS),
  ];
  for (const timer of timers) timer.unref();
  return {
    releaseExpired,
    tendAll,
    close() {
      for (const timer of timers) clearInterval(timer);
    },
  };
}
