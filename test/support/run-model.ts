/**
 * A reference model of a run: what may be seen of it from outside, written from the documents and without a line of the
 * machine. It knows no fences: a ticket or a claim is good only as long as it is the newest.
 */
import type { JobSpec } from '../../src/runs/plan.ts';
import type { State } from '../../src/runs/run.ts';

export type End = 'succeeded' | 'failed' | 'errored';

interface ModelJob {
  spec: JobSpec;
  /** `ready`: a ticket for it is out. */
  phase: 'waiting' | 'ready' | 'held' | Exclude<State, 'pending' | 'running'>;
  /** Tickets so far, claims so far: only the newest counts. */
  tickets: number;
  claims: number;
  attempt: number;
  lost: number;
  retried: number;
  cancelAsked: boolean;
}

export const MAX_LOSSES = 3;

export function createRunModel(specs: readonly JobSpec[]) {
  const jobs = new Map(
    specs.map((spec): [string, ModelJob] => [
      spec.id,
      { spec, phase: 'waiting', tickets: 0, claims: 0, attempt: 1, lost: 0, retried: 0, cancelAsked: false },
    ]),
  );
  const jobNamed = (id: string): ModelJob => {
    const job = jobs.get(id);
    if (!job) throw new Error(`no job ${id}`);
    return job;
  };
  const isOver = ({ phase }: ModelJob): boolean => !['waiting', 'ready', 'held'].includes(phase);
  const isPardoned = ({ phase, spec }: ModelJob): boolean =>
    spec.allowFailure && (phase === 'failed' || phase === 'errored');
  const isGood = (job: ModelJob): boolean => job.phase === 'succeeded' || isPardoned(job);
  /** Whether something went wrong in it, or behind it when it was skipped. */
  const hasTrouble = (job: ModelJob): boolean =>
    job.phase === 'skipped' ? job.spec.needs.some((need) => hasTrouble(jobNamed(need.job))) : !isGood(job);

  const offer = (job: ModelJob): void => {
    job.phase = 'ready';
    job.tickets++;
  };
  const wants = ({ spec }: ModelJob): boolean => {
    if (spec.runsOnStatus === 'always') return true;
    if (spec.runsOnStatus === 'failure') return spec.needs.some((need) => hasTrouble(jobNamed(need.job)));
    return spec.needs.every(({ job, optional }) => {
      const needed = jobNamed(job);
      return isGood(needed) || (optional && needed.phase === 'skipped');
    });
  };
  /** In the order of the file, which is one of needs as well. */
  const goOn = (): void => {
    for (const job of jobs.values()) {
      if (job.phase !== 'waiting' || !job.spec.needs.every((need) => isOver(jobNamed(need.job)))) continue;
      if (wants(job)) offer(job);
      else job.phase = 'skipped';
    }
  };
  /** The job, when this claim is the newest and its worker has not lost it. */
  const heldBy = (id: string, claim: number): ModelJob | undefined => {
    const job = jobNamed(id);
    return job.phase === 'held' && job.claims === claim ? job : undefined;
  };
  const conclude = (job: ModelJob, phase: ModelJob['phase']): void => {
    job.phase = phase;
    goOn();
  };
  goOn();

  return {
    tickets: (id: string): number => jobNamed(id).tickets,
    /** The number of the claim, or undefined: the ticket is no good (any more). */
    claim(id: string, ticket: number): number | undefined {
      const job = jobNamed(id);
      if (job.phase !== 'ready' || ticket !== job.tickets) return undefined;
      job.phase = 'held';
      return ++job.claims;
    },
    /** Of this and the following: whether it was this claim's to say. */
    beginAttempt(id: string, claim: number): boolean {
      const job = heldBy(id, claim);
      if (job) job.attempt++;
      return job !== undefined;
    },
    end(id: string, claim: number, end: End): boolean {
      const job = heldBy(id, claim);
      if (!job) return false;
      const mayRetry = end !== 'succeeded' && job.retried < job.spec.retry.count;
      if (job.cancelAsked) conclude(job, end === 'succeeded' ? end : 'cancelled');
      else if (mayRetry) {
        job.retried++;
        job.attempt++;
        offer(job);
      } else conclude(job, end);
      return true;
    },
    /** `counts`: the worker was lost; else it hands the job over. */
    release(id: string, claim: number, counts: boolean): boolean {
      const job = heldBy(id, claim);
      if (!job) return false;
      if (counts) job.lost++;
      if (job.cancelAsked) conclude(job, 'cancelled');
      else if (job.lost === MAX_LOSSES) conclude(job, 'errored');
      else offer(job);
      return true;
    },
    cancel(): void {
      for (const job of jobs.values()) {
        if (job.phase === 'held') job.cancelAsked = true;
        else if (!isOver(job)) job.phase = 'cancelled';
      }
    },
    /** What must be seen of it now. */
    seen(): { run: State; jobs: { id: string; state: State; attempt: number; isReady: boolean }[] } {
      const all = [...jobs.values()];
      const states: Record<string, State> = { waiting: 'pending', ready: 'pending', held: 'running' };
      const verdict = (): State => {
        const counted = all.filter((job) => !isPardoned(job)).map(({ phase }) => phase);
        for (const bad of ['cancelled', 'failed', 'errored'] as const) if (counted.includes(bad)) return bad;
        return all.every(({ phase }) => phase === 'skipped') ? 'skipped' : 'succeeded';
      };
      const hasBegun = all.some(({ claims }) => claims > 0);
      return {
        run: all.every(isOver) ? verdict() : hasBegun ? 'running' : 'pending',
        jobs: all.map((job) => ({
          id: job.spec.id,
          state: states[job.phase] ?? (job.phase as State),
          attempt: job.attempt,
          isReady: job.phase === 'ready',
        })),
      };
    },
  };
}
