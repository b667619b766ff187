/** Which logs of a run a request means, in which order they are read, and what they are called. */
import { InputError } from '../../errors.ts';
import type { Job, LogKey, Run } from '../../runs/run.ts';

export interface LogSelection {
  /** Absent: the whole run. */
  job?: Job;
  part?: string;
  /** Absent: the newest of each job, and those that follow. */
  attempt?: number;
}

/**
 * `job` by id or name; `step` by name, index or part (`service-redis`, `job`). InputError 404 for what the run does not
 * have, 400 for a step without a job where there are several.
 */
export function selectLogs(
  run: Run,
  query: { job?: string | undefined; step?: string | undefined; attempt?: number | undefined },
): LogSelection {
  const job = query.job === undefined ? undefined : findJob(run, query.job);
  const only = run.jobs.length === 1 ? run.jobs[0] : undefined;
  const owner = job ?? (query.step === undefined && query.attempt === undefined ? undefined : only);
  if (!owner) {
    if (query.step === undefined && query.attempt === undefined) return {};
    throw new InputError('job-missing', 'Say with job= which job you mean.');
  }
  if (query.attempt !== undefined && query.attempt > owner.attempt)
    throw new InputError('attempt-unknown', `Job ${owner.name} has ${owner.attempt} attempt(s).`, { status: 404 });
  return {
    job: owner,
    ...(query.step === undefined ? {} : { part: findPart(owner, query.step) }),
    ...(query.attempt === undefined ? {} : { attempt: query.attempt }),
  };
}

function findJob(run: Run, text: string): Job {
  const job = run.jobs.find((each) => each.id === text) ?? run.jobs.find((each) => each.name === text);
  if (!job)
    throw new InputError('job-unknown', `Run ${run.id} has no job ${JSON.stringify(text.slice(0, 100))}.`, {
      status: 404,
    });
  return job;
}

function findPart(job: Job, text: string): string {
  const index = job.steps.findIndex((step) => step.name === text);
  if (index >= 0) return String(index);
  if (/^\d{1,6}$/.test(text) && Number(text) < job.steps.length) return String(Number(text));
  if (text === 'job' || /^service-[A-Za-z0-9_.-]{1,100}$/.test(text)) return text;
  throw new InputError('step-unknown', `Job ${job.name} has no step ${JSON.stringify(text.slice(0, 100))}.`, {
    status: 404,
  });
}

/** Whether the selection means this log. `current` gives a job's newest attempt (or where a follower started). */
export function isSelected(selection: LogSelection, key: LogKey, current: (job: string) => number): boolean {
  if (selection.job && key.job !== selection.job.id) return false;
  if (selection.part !== undefined && key.part !== selection.part) return false;
  if (key.job === '') return true;
  return selection.attempt === undefined ? key.attempt >= current(key.job) : key.attempt === selection.attempt;
}

/** The run's own log, then job by job in the order of the run: its notes, its steps, its services; attempt by attempt. */
export function compareLogs(run: Run): (a: LogKey, b: LogKey) => number {
  const place = new Map(run.jobs.map((job, index) => [job.id, index]));
  const jobOf = (key: LogKey) => (key.job === '' ? -1 : (place.get(key.job) ?? Infinity));
  return (a, b) =>
    jobOf(a) - jobOf(b) ||
    a.attempt - b.attempt ||
    partOrder(a.part) - partOrder(b.part) ||
    (a.part < b.part ? -1 : a.part > b.part ? 1 : 0);
}

function partOrder(part: string): number {
  if (part === 'job' || part === 'run') return -1;
  return /^\d+$/.test(part) ? Number(part) : Infinity;
}

/** Index and name of the step whose log this is; other logs have no index and are named after their part. */
export function nameLog(run: Run, key: LogKey): { step: number | null; name: string } {
  if (!/^\d+$/.test(key.part)) return { step: null, name: key.part };
  const step = Number(key.part);
  const job = run.jobs.find((each) => each.id === key.job);
  return { step, name: job?.steps[step]?.name ?? key.part };
}
