import { initialJob } from './machine.ts';
import type { RunRecord } from './run.ts';
import type { NewRun } from './store.ts';

/** The first record of a run: everything pending, or ended at once when the file is not fit. */
export function newRecord({ id, event, sha, message, author, plan, error, rerunOf, createdAt }: NewRun): RunRecord {
  const jobs = plan.jobs.map(initialJob);
  const base: RunRecord = {
    id,
    number: 0,
    repository: event.repository,
    event: event.kind,
    ref: event.ref,
    ...(event.branch === undefined ? {} : { branch: event.branch }),
    ...(event.tag === undefined ? {} : { tag: event.tag }),
    sha,
    message,
    author,
    ...(plan.pipeline === '' ? {} : { pipeline: plan.pipeline }),
    state: 'pending',
    ...(event.delivery === undefined ? {} : { delivery: event.delivery }),
    ...(event.foundBy === undefined ? {} : { foundBy: event.foundBy }),
    ...(rerunOf === undefined ? {} : { rerunOf }),
    createdAt,
    jobs: jobs.map((one) => one.job),
    version: 1,
    source: event,
    control: Object.fromEntries(jobs.map((one) => [one.job.id, one.control])),
  };
  if (error !== undefined) return { ...base, state: 'errored', reason: error, endedAt: createdAt };
  return base;
}
