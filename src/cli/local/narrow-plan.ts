/** What the options of `impgem run` change in a plan. */
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
