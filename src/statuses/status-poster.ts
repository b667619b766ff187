/** What a commit status says, under which name, and when a post that failed is tried again. Pure. */
import { createHash } from 'node:crypto';
import type { StatusState } from '../forges/forge.ts';
import { cutDescription } from '../forges/post-status.ts';
import type { Job, Run, State } from '../runs/run.ts';
import { kindOfWaiting } from '../runs/waits-for.ts';

/** Code units of a context that every forge takes. */
const LONGEST_CONTEXT = 200;
const FIRST_DELAY_MS = 1000;
/** Soon after a forge is back it has heard everything. */
const LONGEST_DELAY_MS = 60_000;

/** Forges know four states; what they cannot tell apart is in the words. */
const STATES: Record<State, StatusState> = {
  pending: 'pending',
  running: 'pending',
  succeeded: 'success',
  failed: 'failure',
  cancelled: 'error',
  // A required check that never reports would block a merge.
  skipped: 'success',
  errored: 'error',
};

/** State and description (at most 140 characters) of a job's status, or of the run's own when it has no jobs. */
export function describeStatus(run: Run, job: Job | undefined): { state: StatusState; description: string } {
  const told = job ?? run;
  return { state: STATES[told.state], description: cutDescription(inWords(told, job?.waitingFor)) };
}

/** What should stand at the forge under one context, and whose it is. */
export interface Wanted {
  run: string;
  state: StatusState;
  description: string;
  skipped?: true;
  /** Of a job that is not over: `running`, or a kind of waiting that may last. */
  tells?: string;
}

/** What stands there; `unknown` when two posts were under way at once. */
export interface Posted extends Omit<Wanted, 'state'> {
  state: StatusState | 'unknown';
}

/** What should stand there for a job, or for the run itself. */
export function desiredStatus(run: Run, job: Job | undefined): Wanted {
  const { state } = job ?? run;
  const tells = state === 'running' ? state : state === 'pending' ? kindOfWaiting(job?.waitingFor) : undefined;
  return {
    run: run.id,
    ...describeStatus(run, job),
    ...(state === 'skipped' ? { skipped: true } : {}),
    ...(tells === undefined ? {} : { tells }),
  };
}

/**
 * Whether `want` is to be posted over what stands there: on change only, never over a newer run's, never a pending after
 * a final of the same run. A skipped job only tells a required check not to wait: it never takes the place of what
 * another run of the commit (for another event) found out, and that one takes its place, whichever is newer.
 * Most jobs have two posts, as forges count them: one that waits for something that may last has one more for each kind of
 * it, and one when it runs.
 */
export function isDue(want: Wanted, posted: Posted | undefined): boolean {
  if (!posted) return true;
  if (posted.run !== want.run) return posted.skipped === want.skipped ? posted.run < want.run : posted.skipped === true;
  if (posted.state === 'unknown') return true;
  if (want.state !== 'pending') return posted.state !== want.state || posted.description !== want.description;
  if (posted.state !== 'pending' || want.tells === undefined || want.tells === posted.tells) return false;
  return want.tells !== 'running' || posted.tells !== undefined;
}

/** Stable over re-runs, as branch protection names it: `impgem/test`, `impgem/PIPELINE/test`; `impgem` for a run without jobs. */
export function statusContext(prefix: string, pipeline: string | undefined, jobName: string | undefined): string {
  const context = [prefix, pipeline, jobName].filter((part) => part !== undefined && part !== '').join('/');
  if (context.length <= LONGEST_CONTEXT) return context;
  const hash = createHash('sha256').update(context).digest('hex').slice(0, 12);
  return `${context.slice(0, LONGEST_CONTEXT - 13)}-${hash}`;
}

/** ms until the next try after try number `attempt` (the first is 1): doubling, with jitter, and never before the forge allows. */
export function nextRetryDelay(attempt: number, retryAfterMs?: number, random: () => number = Math.random): number {
  if (retryAfterMs !== undefined) return retryAfterMs + random() * FIRST_DELAY_MS;
  const ceiling = Math.min(FIRST_DELAY_MS * 2 ** Math.max(0, attempt - 1), LONGEST_DELAY_MS);
  return ceiling / 2 + (random() * ceiling) / 2;
}

type Told = Pick<Job, 'state' | 'reason' | 'startedAt' | 'endedAt'>;

function inWords(told: Told, waitingFor: string | undefined): string {
  const { state, reason } = told;
  const because = reason === undefined ? '' : `: ${reason}`;
  const took = duration(told);
  switch (state) {
    case 'pending':
      if (waitingFor === undefined) return 'Pending';
      // It stands there until the job is over.
      return kindOfWaiting(waitingFor) === undefined ? 'Queued or running' : `Waiting for ${waitingFor}`;
    case 'running':
      return 'Running';
    case 'succeeded':
      return took === '' ? 'Succeeded' : `Succeeded in ${took}`;
    case 'failed':
      return `${took === '' ? 'Failed' : `Failed after ${took}`}${because}`;
    case 'cancelled':
      if (reason?.startsWith('superseded')) return 'Superseded by a newer run';
      // `cancelled by a user` says it all.
      return reason?.startsWith('cancelled') ? `C${reason.slice(1)}` : `Cancelled${because}`;
    case 'skipped':
      return `Skipped${because}`;
    case 'errored':
      return `Could not run${because}`;
  }
}

/** `850 ms`, `12 s`, `3 m 20 s`, `1 h 5 m`; empty while it is not known. */
function duration({ startedAt, endedAt }: Told): string {
  const ms = Date.parse(endedAt ?? '') - Date.parse(startedAt ?? '');
  if (Number.isNaN(ms) || ms < 0) return '';
  if (ms < 1000) return `${ms} ms`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} m ${seconds % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} m`;
}
