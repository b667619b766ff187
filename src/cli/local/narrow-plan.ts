/** What the options of `impgem run` change in a plan. */
import { nearest } from '../../config/nearest.ts';
import { InputError } from '../../errors.ts';
import type { JobSpec, Plan } from '../../runs/plan.ts';

/** `NAME=value` into the `env` of every job. Throws InputError `env-invalid`. */
export function withEnvironment(plan: Plan, given: string[]): Plan {
  const added = given.map((text): [string, string] => {
    const [, name, value] = /^([A-Za-z_][A-Za-z0-9_]*)=(.*)$/s.exec(text) ?? [];
    if (name === undefined || value === undefined)
      throw new InputError('env-invalid', `--env ${text}: not of the form NAME=value`);
    return [name, value];
  });
  return { ...plan, jobs: plan.jobs.map((job) => ({ ...job, env: { ...job.env, ...Object.fromEntries(added) } })) };
}

/** Throws InputError `job-unknown` for a name that is no job of any plan. */
export function checkJobs(plans: Plan[], wanted: string[]): void {
  const jobs = plans.flatMap((plan) => plan.jobs);
  const names = [...new Set(jobs.flatMap(({ id, key, name }) => [id, key, name]))];
  const unknown = wanted.find((name) => !names.includes(name));
  if (unknown === undefined) return;
  const near = nearest(unknown, names);
  const hint = near === undefined ? '' : `; did you mean ${near}?`;
  throw new InputError(
    'job-unknown',
    `No job ${unknown}${hint || `; there are: ${jobs.map(({ id }) => id).join(', ')}`}`,
  );
}

/** The jobs of these ids, keys (all cells of a matrix) or names, and all they need. */
export function withJobs(plan: Plan, wanted: string[]): Plan {
  const keep = new Set<string>();
  const add = (job: JobSpec): void => {
    if (keep.has(job.id)) return;
    keep.add(job.id);
    for (const need of job.needs) plan.jobs.filter((other) => other.id === need.job).forEach(add);
  };
  plan.jobs.filter((job) => [job.id, job.key, job.name].some((name) => wanted.includes(name))).forEach(add);
  return { ...plan, jobs: plan.jobs.filter((job) => keep.has(job.id)) };
}
