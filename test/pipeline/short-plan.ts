import { isDeepStrictEqual } from 'node:util';
import type { JobSpec, Plan, StepSpec } from '../../src/runs/plan.ts';

export const DEFAULT_TIMEOUT = 3_600_000;

const NO_RETRY = { count: 0, delayMs: 0, infrastructure: false };

const STEP: Partial<StepSpec> = {
  shell: 'bash',
  env: {},
  secrets: [],
  runsOnStatus: 'success',
  retry: NO_RETRY,
  allowFailure: false,
  artifacts: [],
  caches: [],
  needs: [],
  background: false,
  network: 'default',
  limits: {},
  docker: false,
};

const JOB: Partial<JobSpec> = {
  matrix: {},
  needs: [],
  runsOnStatus: 'success',
  env: {},
  services: [],
  secrets: [],
  timeoutMs: DEFAULT_TIMEOUT,
  retry: NO_RETRY,
  runsOn: [],
  outputs: {},
  allowFailure: false,
  graph: false,
};

const PLAN: Partial<Plan> = {
  pipeline: '',
  file: '.impgem.yml',
  clone: { skip: false, depth: 0, submodules: false, lfs: false },
};

/** The plan without what has its default value, and without names that say nothing new: short enough to be read. */
export function shortPlan(plan: Plan): object {
  const jobs = plan.jobs.map((job) => {
    const steps = job.steps.map((step) => without(step, STEP));
    return { ...without(job, { ...JOB, key: job.id, name: job.id }), steps };
  });
  return { ...without(plan, PLAN), jobs };
}

function without(value: object, defaults: object): object {
  const fallback = defaults as Record<string, unknown>;
  return Object.fromEntries(Object.entries(value).filter(([key, item]) => !isDeepStrictEqual(item, fallback[key])));
}
