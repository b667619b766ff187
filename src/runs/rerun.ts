import { randomUUID } from 'node:crypto';
import { InputError } from '../errors.ts';
import { jobOf } from './lookups.ts';
import { initialJob } from './machine.ts';
import type { Plan } from './plan.ts';
import { type Job, type RunRecord, isFinal } from './run.ts';
import { makeRunId } from './run-id.ts';
import type { RerunOptions } from './store.ts';

/**
 * The record of a new run for the same commit and plan, and the ids of the jobs it keeps from the old one (their
 * results and outputs stand; their logs and artifacts are for the caller to take over). InputError `job-unknown` (404),
 * `nothing-failed` or `run-not-over` (409): what has not ended cannot be kept.
 */
export function rerunOf(
  old: RunRecord,
  plan: Plan,
  { jobs }: RerunOptions,
  now: string,
): { record: RunRecord; kept: string[] } {
  const again = jobsToRun(old, plan, jobs);
  const kept = plan.jobs.map((spec) => spec.id).filter((id) => !again.has(id));
  const fresh = plan.jobs.map((spec) => {
    const previous = jobOf(old, spec.id);
    const first = initialJob(spec);
    if (again.has(spec.id) || !previous) return first;
    if (!isFinal(previous.state)) throw notOver(old, previous);
    return { ...first, job: { ...previous, reason: previous.reason ?? `kept from run ${old.id}` } };
  });
  // Its place in the concurrency group is the old run's: the new one gets in line itself.
  const { reason: _, startedAt: __, endedAt: ___, group: ____, ...rest } = old;
  const record: RunRecord = {
    ...rest,
    id: makeRunId(now, `rerun ${old.id} ${randomUUID()}`),
    number: 0,
    version: 1,
    state: 'pending',
    rerunOf: old.id,
    createdAt: now,
    jobs: fresh.map((one) => one.job),
    control: Object.fromEntries(fresh.map((one) => [one.job.id, one.control])),
  };
  return { record, kept };
}

function notOver(run: RunRecord, job: Job): InputError {
  const message = `Job ${job.name} of run ${run.id} has not ended, so it cannot be kept; wait until it has, or run all of it again`;
  return new InputError('run-not-over', message, { status: 409 });
}

function jobsToRun(old: RunRecord, plan: Plan, which: RerunOptions['jobs']): Set<string> {
  const again = new Set<string>();
  if (which === 'all') for (const spec of plan.jobs) again.add(spec.id);
  else if (which === 'failed') {
    if (!old.jobs.some(({ state }) => state === 'failed' || state === 'errored' || state === 'cancelled'))
      throw new InputError('nothing-failed', `No job of run ${old.id} failed; run all of it again, or one job`, {
        status: 409,
      });
    for (const job of old.jobs) {
      if (!isFinal(job.state)) throw notOver(old, job);
      if (job.state !== 'succeeded') again.add(job.id);
    }
  } else {
    if (!plan.jobs.some((spec) => spec.id === which.job))
      throw new InputError('job-unknown', `Run ${old.id} has no job "${which.job}"`, { status: 404 });
    again.add(which.job);
  }
  // What needs a job that runs again must see its new result.
  for (let grown = true; grown;) {
    grown = false;
    for (const spec of plan.jobs) {
      if (again.has(spec.id) || !spec.needs.some((need) => again.has(need.job))) continue;
      again.add(spec.id);
      grown = true;
    }
  }
  return again;
}
