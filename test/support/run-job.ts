/** Runs one job with the job runner over ports in memory, and says how each step ended. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Executor } from '../../src/executors/executor.ts';
import type { JobSpec } from '../../src/runs/plan.ts';
import { createJobRunner, type JobDefaults } from '../../src/worker/job-runner.ts';
import type { Assignment, JobResult } from '../../src/worker/ports.ts';
import { assignment, memoryPorts, type MemoryPorts } from './job-fixture.ts';

export interface JobRun {
  ports: MemoryPorts;
  cancel: AbortController;
  detach: AbortController;
  /** Folder of the job folders. */
  folder: string;
  result: Promise<JobResult | 'detached'>;
  /** `state` of every step, with its reason: `failed (timed out after 1s)`. */
  outcome(): Promise<string[]>;
  /** Names left in the folder of job folders once all is cleaned up. */
  leftovers(): Promise<string[]>;
}

export interface JobRunOptions {
  assignment?: Partial<Assignment>;
  defaults?: Partial<JobDefaults>;
  ports?: MemoryPorts;
}

const DEFAULTS: JobDefaults = {
  image: 'debian:bookworm-slim',
  jobTimeoutMs: 60_000,
  logLimit: 1024 * 1024 * 1024,
  diskLimit: 0,
  limits: { memory: 1024 ** 3, pids: 512 },
  trusts: () => false,
};

export function runJob(executor: Executor, folder: string, spec: JobSpec, options: JobRunOptions = {}): JobRun {
  const ports = options.ports ?? memoryPorts(folder);
  const work = join(folder, 'work');
  const runner = createJobRunner({ executor, ports, folder: work, defaults: { ...DEFAULTS, ...options.defaults } });
  const cancel = new AbortController();
  const detach = new AbortController();
  // With its clean-up, which would race with the removal of the test's folder.
  const result = runner
    .run(assignment(spec, options.assignment), { cancel: cancel.signal, detach: detach.signal })
    .finally(() => runner.idle());
  result.catch(() => undefined);
  return {
    ports,
    cancel,
    detach,
    folder: work,
    result,
    outcome: async () => {
      await result;
      return ports
        .steps()
        .map(({ state = 'pending', reason }) => (reason === undefined ? state : `${state} (${reason})`));
    },
    leftovers: async () => {
      await result;
      return readdir(work);
    },
  };
}
