import type { JobSpec, Plan } from './plan.ts';
import type { Job, RunRecord, State } from './run.ts';

export function jobOf(record: RunRecord, id: string): Job | undefined {
  return record.jobs.find((job) => job.id === id);
}

export function specOf(plan: Plan, id: string): JobSpec | undefined {
  return plan.jobs.find((spec) => spec.id === id);
}

/** A final state as part of a sentence. */
export function inWords(state: State): string {
  return state === 'errored'
    ? 'ended with an error'
    : state === 'skipped'
      ? 'was skipped'
      : state === 'cancelled'
        ? 'was cancelled'
        : state;
}
