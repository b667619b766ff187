/** Run, Job, Step as the HTTP contract shows them, plus the few fields that only we see. Times are ISO 8601. */
import type { EventKind, PipelineEvent } from './event.ts';

export const STATES = ['pending', 'running', 'succeeded', 'failed', 'cancelled', 'skipped', 'errored'] as const;
export type State = (typeof STATES)[number];
export type FinalState = Exclude<State, 'pending' | 'running'>;

/** A final state never changes. */
export function isFinal(state: State): state is FinalState {
  return state !== 'pending' && state !== 'running';
}

export interface Step {
  name: string;
  state: State;
  reason?: string;
  exitCode?: number;
  startedAt?: string;
  endedAt?: string;
  /** Markdown from $IMPGEM_SUMMARY, bounded. */
  summary?: string;
  /** Digest of the image that it ran in (`sha256:...`); the id of one that no registry has. */
  image?: string;
}

export interface Job {
  id: string;
  name: string;
  /** Ids of jobs in this run. */
  needs: string[];
  state: State;
  reason?: string;
  /** Starts at 1; grows when the job starts over (the earlier attempts' logs are kept). */
  attempt: number;
  worker?: string;
  startedAt?: string;
  endedAt?: string;
  steps: Step[];
  outputs?: Record<string, string>;
  /** A failure that does not fail the run. */
  allowFailure?: boolean;
  /** What a pending job waits for: `jobs build, lint`, `a worker with labels gpu`, `its next try at ...`. */
  waitingFor?: string;
}

/** What only we see of a job. */
export interface JobControl {
  /** Grows with each claim and each hand-over; a worker whose fence is older may write nothing. */
  fence: number;
  /** ISO time the job became ready to be queued; absent: it still waits. */
  readyAt?: string;
  /** A person or a newer push asked for it to end. */
  cancelRequested?: string;
  /** Earlier infrastructure failures (worker died), to give up at a bound. */
  losses: number;
  /** Why the last worker let go of it: said in the log of the attempt that follows. */
  lossReason?: string;
  /** Times the job was tried again under `retry`. */
  retries: number;
  /** Not before this ISO time (retry delay). */
  notBefore?: string;
  /** Its place in its concurrency group, when it has one and its turn has come so far. */
  group?: GroupPlace;
}

export type GroupPlace = 'waiting' | 'granted';

export interface Run {
  id: string;
  /** Counts up per repository. */
  number: number;
  /** `forge/owner/name`. */
  repository: string;
  event: EventKind;
  ref: string;
  branch?: string;
  tag?: string;
  sha: string;
  message: string;
  author: string;
  pipeline?: string;
  state: State;
  reason?: string;
  delivery?: string;
  /** The push was found by looking at the forge: its delivery never came. */
  foundBy?: 'catch-up';
  rerunOf?: string;
  createdAt: string;
  startedAt?: string;
  endedAt?: string;
  jobs: Job[];
}

/** A run with all that is needed to carry it on; `Run` is what the API shows of it. */
export interface RunRecord extends Run {
  /** Counts transitions; every write is a compare-and-set on it. */
  version: number;
  source: PipelineEvent;
  /** The whole run's place in the pipeline's concurrency group. */
  group?: GroupPlace;
  control: Record<string, JobControl>;
}

export interface Delivery {
  id: string;
  forge: string;
  event: string;
  repository?: string;
  receivedAt: string;
  state: 'queued' | 'planned' | 'ignored' | 'failed';
  reason?: string;
  runs: string[];
}

/** Names one growing log: a step's (its index), a service's (`service-NAME`), or the job's own notes (`job`). The run's own log (diagnostics) has job '' . */
export interface LogKey {
  run: string;
  /** Job id, or '' for the run's own log. */
  job: string;
  attempt: number;
  /** `0`, `1`, ..., `job`, `service-redis`; `run` for the run's own log. */
  part: string;
}
