/** What the job runner is handed. `impgem worker` and `impgem run` differ only in these. */
import type { PipelineEvent } from '../runs/event.ts';
import type { CacheSpec, CloneSpec, JobSpec } from '../runs/plan.ts';
import type { FinalState, LogKey, Run, State, Step } from '../runs/run.ts';

/** One job to run, complete: nothing else is looked up. Plain JSON but for the ports. */
export interface Assignment {
  run: Omit<Run, 'jobs'>;
  event: PipelineEvent;
  spec: JobSpec;
  clone: CloneSpec;
  attempt: number;
  /** 0 in `impgem run`. */
  fence: number;
  /** Result and outputs of what it needs, by key as written (`needs.KEY`). */
  needs: Record<string, { result: State; outputs: Record<string, string> }>;
  /** Steps as last recorded: all `pending` for a new attempt; with states when a lost job may be adopted. */
  steps: Step[];
  /** Another worker had this attempt: unless it is adopted, it starts over, for its logs may have begun. */
  takenOver: boolean;
  /** Said in the job's log before anything else: `attempt 2: worker w1 was lost`. */
  notes: string[];
  /** A job of an event that may use secrets and write caches (not a fork's pull request). */
  trusted: boolean;
  /** For CI_* variables: address of the run's page, of the forge, clone address without credentials. */
  links: { run?: string; forge?: string; repository?: string; clone?: string };
}

/** The outcome of a job; the caller records it. */
export interface JobResult {
  state: FinalState;
  reason?: string;
  outputs: Record<string, string>;
  /** The failure was ours (engine, git, disk): `retry.infrastructure` applies. */
  infrastructure: boolean;
  /** Exit code of the failing step, for `retry.exitCodes`. */
  exitCode?: number;
}

export interface StateReporter {
  /** Throws LostJobError when another worker has the job now. */
  step(index: number, change: Partial<Step> & { state: State }): Promise<void>;
}

export interface LogWriter {
  /** Bytes already stored: where an adopted step goes on. */
  length(key: LogKey): Promise<number>;
  /** Stores bytes at an offset: the same bytes at the same offset are harmless, a gap is refused. */
  append(key: LogKey, offset: number, bytes: Buffer): Promise<void>;
  /** No more will come; durable when it settles. */
  close(key: LogKey): Promise<void>;
}

export interface ArtifactStore {
  /** Takes files (host paths that were opened without following links) of one job into the run's artifacts. */
  add(run: string, job: string, files: ArtifactFile[]): Promise<void>;
}

export interface ArtifactFile {
  /** Relative, `/`-separated, normalised. */
  path: string;
  /** Host path. */
  source: string;
  name?: string;
  expiresAt?: string;
}

/** The scope keeps repositories apart; a pull request reads its own and its target's scope, and writes only its own. */
export interface CacheScope {
  repository: string;
  /** Scopes to read, in order; the first is the one to write; empty `write`: read only. */
  read: string[];
  write?: string;
}

export interface CacheStore {
  /** Restores the newest match into the job's folder; gives the key found, or undefined. `roots` maps `workspace`/`home` to host folders. */
  restore(scope: CacheScope, cache: CacheSpec, roots: CacheRoots): Promise<string | undefined>;
  /** Keeps `paths` under the exact key, unless it exists. Gives nothing when it was there already or may not be written. */
  save(scope: CacheScope, cache: CacheSpec, roots: CacheRoots): Promise<CacheContent | undefined>;
}

/** What became of the paths of a cache. */
export interface CacheContent {
  /** Files, folders and links kept. Where that is none, nothing is saved. */
  kept: number;
  /** Those that could not be kept, without what is in them. */
  leftOut: number;
  /** The first of the latter; `path` as a pipeline writes it (`~/.npm/x`), `why` a sentence about it without its end. */
  first?: { path: string; why: string };
}

export interface CacheRoots {
  workspace: string;
  home: string;
}

export interface SecretSource {
  /** Values by name; a name that nobody gave is absent. */
  get(repository: string, names: string[]): Promise<Map<string, string>>;
}

export interface WorkspaceSource {
  /**
   * Fills `folder` (exists, empty) with the commit and a working `.git`; gives the host path of the mirror's objects that
   * must be visible at STEP_PATHS.objects, if any. Host git never runs in it again. Nothing goes on once it has settled,
   * which is soon after `signal` is aborted.
   */
  create(assignment: Assignment, folder: string, signal: AbortSignal): Promise<{ objects?: string }>;
  /** The `objects` that `create` will give, where they are known before: an executor prepares while the workspace is being filled. */
  objects?(assignment: Assignment): string | undefined;
}

export interface JobPorts {
  logs: LogWriter;
  report: StateReporter;
  artifacts: ArtifactStore;
  caches: CacheStore;
  secrets: SecretSource;
  workspaces: WorkspaceSource;
}

/** A job that this worker holds: what the claim loop gets from wherever jobs come from. */
export interface HeldJob {
  assignment: Assignment;
  report: StateReporter;
  /** Aborts with the reason when a person or a newer push wants the job to end. */
  cancel: AbortSignal;
  /** Why the worker before us let go of it, if one had it. */
  lossReason: string | undefined;
  /** Starts the job over: what was to be adopted is gone. */
  beginAttempt(note: string): Promise<Assignment>;
  /** Settles when it is written, however long that takes, or when the job is another worker's. */
  end(result: JobResult): Promise<void>;
  /** For another worker; `loss`: what it ran in is away, which counts against the job. Settles like `end`. */
  handBack(loss?: string): Promise<void>;
  /** Nothing more is done with it here. To be called for every job, whatever became of it; never rejects. */
  letGo(): Promise<void>;
}
