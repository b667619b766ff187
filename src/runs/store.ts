/** What the rest of the product asks of the place where runs live. The Redis store is `redis-store.ts`. */
import type { ForgeName, PipelineEvent } from './event.ts';
import type { JobSpec, Plan } from './plan.ts';
import type { Delivery, Run, RunRecord, State } from './run.ts';

export interface NewRun {
  /** Made from the delivery, so that planning the same delivery twice creates one run. */
  id: string;
  event: PipelineEvent;
  /** Commit, peeled. */
  sha: string;
  message: string;
  author: string;
  plan: Plan;
  /** An `errored` run from the start, with this reason (invalid file, clone failed). */
  error?: string;
  rerunOf?: string;
  createdAt: string;
}

export interface RunFilter {
  repository?: string;
  branch?: string;
  sha?: string;
  state?: State;
  /** 1..100. */
  limit: number;
  cursor?: string;
}

export interface RerunOptions {
  /** `all` from the start; `failed`: what succeeded is kept; or one job (its id) and what needs it. */
  jobs: 'all' | 'failed' | { job: string };
}

/** A kick, not a message: whoever hears it reads the state again. */
export type FeedMessage =
  | { kind: 'run'; run: string }
  | { kind: 'log'; run: string; job: string; attempt: number; part: string; length: number; closed: boolean };

export interface RunStore {
  get(id: string): Promise<RunRecord | undefined>;
  plan(id: string): Promise<Plan | undefined>;
  jobSpec(id: string, job: string): Promise<JobSpec | undefined>;
  /** Newest first. InputError `cursor-invalid` (400) for a cursor that we never gave. */
  list(filter: RunFilter): Promise<{ runs: Run[]; next?: string }>;
  /** By the forge's own id; without a forge, the latest of that id. */
  delivery(id: string, forge?: ForgeName): Promise<Delivery | undefined>;
  /** Always legal; gives false when the run is over. InputError `run-unknown` (404). */
  cancel(id: string, reason: string): Promise<boolean>;
  /** A new run for the same commit with its own logs. InputError `run-unknown` (404), and those of rerunOf. */
  rerun(id: string, options: RerunOptions): Promise<Run>;
  /** Hears of every change of the run and growth of its logs until the signal aborts. Resolves once it hears. */
  subscribe(run: string, listener: (message: FeedMessage) => void, signal: AbortSignal): Promise<void>;
}
