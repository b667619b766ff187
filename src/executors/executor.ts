/**
 * The contract of what runs tasks. An executor knows nothing of HTTP, Redis, forges or runs: it gets tasks that are
 * fully resolved and gives exits back.
 *
 * - A failing task is a result (`Exit`), a failing engine is an error (InfrastructureError).
 * - `prepare` may be called for several jobs at once; `start` of one JobSandbox may be called for several tasks at once.
 * - `dispose` is idempotent, safe after a failed `prepare`/`start`, and uses no signal that a cancellation has aborted.
 * - All steps of a job see the same paths in both executors (STEP_PATHS).
 */
import type { Limits } from '../runs/plan.ts';

/** Paths as a step sees them, the same in every executor and in `impgem run`. */
export const STEP_PATHS = {
  workspace: '/workspace',
  home: '/impgem/home',
  /** Per-step folder with the files env, output, path, summary. */
  step: '/impgem/step',
  /** The mirror's objects, read-only (alternates of the workspace's .git). */
  objects: '/impgem/objects',
} as const;

/** Names the owner of everything an executor makes (labels, folder names), so that a later worker can adopt or reap it. */
export interface JobOwner {
  run: string;
  job: string;
  attempt: number;
}

export interface JobContext {
  owner: JobOwner;
  /** Host folder of the job, private to it, already made: holds `workspace/` (complete when `ready` resolves), `home/`, and what the executor puts beside. */
  folder: string;
  /** Host path of the mirror's objects to show read-only at STEP_PATHS.objects; absent: the workspace needs none. */
  objects?: string;
  /** Resolves when `workspace/` is filled; an executor may prepare meanwhile, and start() waits for it. */
  ready: Promise<void>;
  /** Default image of a step. */
  image: string;
  /** Aborted when the job is disposed of or let go: `prepare` then does not go on waiting for what may take long (a pull). */
  abandoned?: AbortSignal;
  /** Repository may use `docker: true` and the like. */
  trusted: boolean;
  /** Says something about the job in its own log (`image ignored: ...`); once each. */
  note: (line: string) => void;
}

export interface Task {
  /** Unique in the job and attempt; `[A-Za-z0-9_.-]`: `0`, `0-retry-1`, `service-redis`. */
  id: string;
  /** Bash (or sh) text; run with `-eo pipefail` (`sh`: `-e`). */
  script: string;
  shell: 'bash' | 'sh';
  image?: string;
  /** The complete environment except PATH and HOME, which the executor sets unless given. Secrets included. */
  env: Record<string, string>;
  /** Folders put in front of PATH. */
  path: string[];
  /** Relative to the workspace. */
  workingDirectory?: string;
  network: 'default' | 'none';
  limits: Limits;
  docker: boolean;
}

/** What is known of a task before its turn: enough to start its container ahead. */
export type UpcomingTask = Pick<Task, 'id' | 'shell' | 'image' | 'network' | 'limits' | 'docker'>;

export interface Output {
  /** Raw bytes of stdout and stderr in the order written. The promise is back-pressure: the executor waits for it. */
  write(bytes: Buffer): Promise<void>;
}

/**
 * Contents of the step's files after it ended, each at most HANDOVER_LIMIT bytes, read without following links. One that is
 * no UTF-8 has a lone surrogate where bytes are not (`decodeHandover`): a U+FFFD could be what the step wrote.
 */
export interface Handover {
  env: string;
  output: string;
  path: string;
  summary: string;
}
export const HANDOVER_LIMIT = 1024 * 1024;

export interface Exit {
  /** 0..255; a signal n is 128 + n. */
  code: number;
  /** Set when the end was not the script's own: killed by us, or by the kernel for memory. */
  reason?: 'cancelled' | 'out of memory';
  handover: Handover;
  /** Digest of the image that it ran in, or the id of one without; absent where there are no images. */
  image?: string;
}

export interface StartOptions {
  /** Aborted: TERM to the whole process tree, KILL after `graceMs`; the promise then settles with reason `cancelled`. */
  signal: AbortSignal;
  graceMs?: number;
}

export interface ServiceTask {
  name: string;
  image?: string;
  run?: string;
  env: Record<string, string>;
  ready?: { port: number; timeoutMs: number } | { command: string; timeoutMs: number };
}

export interface Service {
  /** Settles when the service ends by itself (code) or is stopped by dispose. */
  ended: Promise<number>;
}

/** Calls of a sandbox throw ExecutorLostError when what it lives in has died, or does not answer. */
export interface JobSandbox {
  /**
   * Runs one task to its end. Output is complete when it settles. ImpGemError `task-not-started` when nothing of it ran, as
   * its script was lost on its way: it can be started again.
   */
  start(task: Task, output: Output, options: StartOptions): Promise<Exit>;
  /** Hint: these tasks come next, in this order; replaces the previous hint. Free to ignore. */
  expect(tasks: UpcomingTask[]): void;
  /** Starts a service and waits until it is ready. Error `service-not-ready` / `service-failed` (ImpGemError) when it is not. */
  startService(service: ServiceTask, output: Output, options: StartOptions): Promise<Service>;
  /** Makes changes the host made in the job's folder visible to the next task (no-op where the disk is shared). */
  push(): Promise<void>;
  /** Makes what tasks wrote in workspace and home visible in the job's folder (no-op where the disk is shared). */
  pull(): Promise<void>;
  /**
   * Bytes of disk that the job's files take, and whatever else its tasks wrote. Looks at each file: not to be asked often.
   * InputError `disk-use-hidden` when its tasks make that impossible.
   */
  diskUse(): Promise<number>;
  /** KILL at once to all that runs of the job now: tasks (whose `signal` was aborted before), services, a nested engine. */
  kill(): Promise<void>;
  /** Removes everything (in the background, bounded, where that is slow). */
  dispose(): Promise<void>;
  /** Lets go without stopping anything, for a later `adopt` (worker told to stop). No-op where adoption is impossible. */
  detach(): Promise<void>;
}

/** A job found again after its worker died. */
export interface AdoptedJob {
  sandbox: JobSandbox;
  /** Ids of tasks that were started, oldest first: each can be passed to `resume`. */
  started: string[];
  /**
   * Follows a task that was started before: its output again from byte 0, then its exit. Errors: those of `start`.
   */
  resume(taskId: string, output: Output, options: StartOptions): Promise<Exit>;
}

export interface Executor {
  readonly name: string;
  /** Whether jobs outlive their worker, so that another can `adopt` them. */
  readonly adopts: boolean;
  /**
   * Called before anything is put into the job's folder: until it returns its promise, it may replace the empty
   * `workspace/` and `home/` by folders of its own, which containers started ahead have mounted already.
   */
  prepare(job: JobContext): Promise<JobSandbox>;
  /** The job's sandbox if it still lives in the same attempt, else undefined. Never starts anything. */
  adopt(job: JobContext): Promise<AdoptedJob | undefined>;
  /** Removes what no live job owns; gives how much that was. `isLive` is asked after its containers were seen. */
  reap(isLive: (owner: JobOwner) => boolean | Promise<boolean>): Promise<number>;
  /** Why no job can be run now (`the Docker engine does not answer`); undefined: nothing is wrong. */
  trouble?(): Promise<string | undefined>;
  /** Removes the folder of a job that is disposed of or nobody's, whoever owns what its steps left there. */
  removeFolder(folder: string): Promise<void>;
  /** One line for logs and `impgem doctor`: version, what it can and cannot do. */
  describe(): Promise<string>;
  close(): Promise<void>;
}
