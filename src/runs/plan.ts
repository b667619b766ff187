/**
 * What `pipeline/` makes of a pipeline file for one event, and what a worker executes: plain JSON, stored with the run.
 * Strings marked *expression* may still hold `${{ }}` that only a running job can fill (needs, steps, matrix are
 * filled in by the planner; `needs.*`, `steps.*`, `env.*`, `hash()` by the worker).
 */

export interface Plan {
  /** Name of the pipeline: `name:` of the file, or the file's base name under `.impgem/`; '' for `.impgem.yml`. */
  pipeline: string;
  /** Path in the repository. */
  file: string;
  /** Why nothing of it runs (pipeline-level `when`); it is every job's `skip` as well. */
  skipped?: string;
  concurrency?: Concurrency;
  clone: CloneSpec;
  /** In the order of the file, matrix expanded; `needs` refer to ids in this list. */
  jobs: JobSpec[];
}

export interface CloneSpec {
  /** True: the workspace starts empty. */
  skip: boolean;
  /** Commits of history; 0 is all of it. */
  depth: number;
  submodules: boolean;
  lfs: boolean;
}

export interface JobSpec {
  /** Unique in the run, stable over re-runs, `[A-Za-z0-9_-]`, at most 100 characters: `test`, `test-node-20`. */
  id: string;
  /** The key in `jobs` (matrix cells share it). `main` for top-level `steps`. */
  key: string;
  /** Shown, and part of the status context: `test (20, linux)`. */
  name: string;
  matrix: Record<string, string | number | boolean>;
  needs: JobNeed[];
  /** Decided by the planner (`when`, `if`): the job is skipped with this reason. */
  skip?: string;
  /** Expression to decide once its needs have ended (an `if` that reads `needs`). */
  if?: string;
  /** Runs when what it needs: all succeeded / any failed / either way. */
  runsOnStatus: RunsOnStatus;
  image?: string;
  /** Values: expression. */
  env: Record<string, string>;
  services: ServiceSpec[];
  secrets: string[];
  /** Whole job, ms. */
  timeoutMs: number;
  retry: Retry;
  concurrency?: Concurrency;
  /** Labels a worker must have. */
  runsOn: string[];
  /** Values: expression. */
  outputs: Record<string, string>;
  allowFailure: boolean;
  steps: StepSpec[];
  /** True: `steps[].needs` is the order; false: the order of the file. */
  graph: boolean;
}

export type RunsOnStatus = 'success' | 'failure' | 'always';

export interface JobNeed {
  /** Job id in this plan. */
  job: string;
  /** Key as written in `needs` (for `needs.KEY.outputs`). */
  key: string;
  optional: boolean;
}

export interface StepNeed {
  step: string;
  optional: boolean;
}

export interface Concurrency {
  /** Expression already resolved by the planner. Scope is the repository. */
  group: string;
  mode: 'cancel' | 'queue' | 'latest';
}

export interface Retry {
  /** Further tries after the first: 0 is none. */
  count: number;
  delayMs: number;
  /** Only on these exit codes; absent: on any. */
  exitCodes?: number[];
  /** Also (or, with exitCodes empty, only) on errors that are ours. */
  infrastructure: boolean;
}

export interface Limits {
  /** Bytes. */
  memory?: number;
  /** Cores, may be a fraction. */
  cpu?: number;
  pids?: number;
}

export interface StepSpec {
  /** Unique in the job. */
  name: string;
  /** The script, never with `${{ }}`. */
  run: string;
  image?: string;
  shell: 'bash' | 'sh';
  /** Values: expression. */
  env: Record<string, string>;
  secrets: string[];
  skip?: string;
  /** Expression to decide just before it starts. */
  if?: string;
  runsOnStatus: RunsOnStatus;
  /** ms; absent: only the job's. */
  timeoutMs?: number;
  retry: Retry;
  /** True, or the exit codes that are let pass. */
  allowFailure: boolean | number[];
  /** Relative to the workspace. */
  workingDirectory?: string;
  artifacts: ArtifactSpec[];
  caches: CacheSpec[];
  needs: StepNeed[];
  background: boolean;
  network: 'default' | 'none';
  limits: Limits;
  /** A private nested engine; docker executor only, trusted repositories only. */
  docker: boolean;
}

export interface ArtifactSpec {
  /** Globs, relative to the workspace; `!` negates. */
  paths: string[];
  name?: string;
  when: RunsOnStatus;
  /** ms after which it may be removed; absent: the operator's setting. */
  expireMs?: number;
}

export interface CacheSpec {
  /** Expression; `hash(globs)` is taken in the workspace just before the step. */
  key: string;
  restoreKeys: string[];
  /** Relative to the workspace, or under `~/` (the job's home). */
  paths: string[];
}

export interface ServiceSpec {
  name: string;
  image?: string;
  /** A script instead of the image's own command; required by the sandbox executor. */
  run?: string;
  env: Record<string, string>;
  ready?: { port: number; timeoutMs: number } | { command: string; timeoutMs: number };
}
