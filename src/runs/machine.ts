/**
 * The state machine of runs, in one place: pure functions from a record to the next record. A function that finds its
 * move not allowed gives the same object back, so callers see "nothing happened" by identity, and the store writes only
 * what differs. Atomicity is the store's: every result is written by compare-and-set on `version`.
 */
import { inWords, jobOf, specOf } from './lookups.ts';
import type { JobSpec } from './plan.ts';
import { type Rules, judge } from './readiness.ts';
import { readyWaitsFor } from './waits-for.ts';
import { type FinalState, type Job, type JobControl, type RunRecord, type State, type Step, isFinal } from './run.ts';

export interface JobOutcome {
  state: FinalState;
  reason?: string;
  outputs: Record<string, string>;
  infrastructure: boolean;
  exitCode?: number;
}

export function initialJob(spec: JobSpec): { job: Job; control: JobControl } {
  const job: Job = {
    id: spec.id,
    name: spec.name,
    needs: spec.needs.map((need) => need.job),
    state: 'pending',
    attempt: 1,
    steps: freshSteps(spec),
    ...(spec.allowFailure ? { allowFailure: true } : {}),
  };
  return { job, control: { fence: 0, losses: 0, retries: 0 } };
}

/** A worker takes the job with the ticket of this fence. The fence grows, so that the ticket works once. */
export function claim(record: RunRecord, id: string, fence: number, worker: string, now: string): RunRecord {
  const job = jobOf(record, id);
  const control = record.control[id];
  if (job?.state !== 'pending' || !control?.readyAt || control.fence !== fence || isFinal(record.state)) return record;
  const { waitingFor: _, ...rest } = job;
  const next = withJob(
    record,
    { ...rest, state: 'running', worker, startedAt: job.startedAt ?? now },
    { ...control, fence: fence + 1 },
  );
  return record.state === 'pending' ? { ...next, state: 'running', startedAt: record.startedAt ?? now } : next;
}

/** A new attempt of a job that this worker holds: what was running is gone. Earlier logs stay under their attempt. */
export function beginAttempt(record: RunRecord, spec: JobSpec, fence: number): RunRecord {
  const job = held(record, spec.id, fence);
  if (!job) return record;
  const again = { ...job, attempt: job.attempt + 1, steps: freshSteps(spec) };
  return withJob(record, again, without(controlOf(record, spec.id), 'lossReason'));
}

/** A step's news from the worker that holds the job; a step in a final state never changes. */
export function reportStep(
  record: RunRecord,
  id: string,
  fence: number,
  index: number,
  change: Partial<Step> & { state: State },
): RunRecord {
  const job = held(record, id, fence);
  const step = job?.steps[index];
  if (!job || !step || isFinal(step.state)) return record;
  const steps = job.steps.slice();
  steps[index] = { ...step, ...change };
  return withJob(record, { ...job, steps }, controlOf(record, id));
}

/** The job ends, or starts over under its `retry`. */
export function endJob(
  record: RunRecord,
  rules: Rules,
  id: string,
  fence: number,
  end: JobOutcome,
  now: string,
): RunRecord {
  const job = held(record, id, fence);
  if (!job) return record;
  const control = controlOf(record, id);
  const spec = specOf(rules.plan, id);
  if (spec && !control.cancelRequested && mayRetry(spec, control, end)) {
    const again: Job = { ...job, attempt: job.attempt + 1, steps: freshSteps(spec) };
    const notBefore = new Date(Date.parse(now) + spec.retry.delayMs).toISOString();
    const retried = { ...without(control, 'lossReason'), retries: control.retries + 1, notBefore };
    return queueAgain(record, rules, again, retried, now);
  }
  const outcome =
    control.cancelRequested && end.state !== 'succeeded'
      ? { ...end, state: 'cancelled' as const, reason: control.cancelRequested }
      : end;
  return advance(finish(record, job, outcome, now), rules, now);
}

/**
 * The worker that held the job is gone (or hands it over: `counts` false). The steps stay as they are: whoever claims it
 * next may adopt what still runs, or begins a new attempt.
 */
export function releaseJob(
  record: RunRecord,
  rules: Rules,
  id: string,
  fence: number,
  why: { counts: boolean; reason: string },
  now: string,
): RunRecord {
  const job = held(record, id, fence);
  if (!job) return record;
  const control = controlOf(record, id);
  const losses = control.losses + (why.counts ? 1 : 0);
  const none = { outputs: {}, infrastructure: true };
  if (control.cancelRequested)
    return advance(
      finish(record, job, { ...none, state: 'cancelled', reason: control.cancelRequested }, now),
      rules,
      now,
    );
  if (losses >= rules.maxLosses)
    return advance(
      finish(record, job, { ...none, state: 'errored', reason: `${why.reason} (${losses} times)` }, now),
      rules,
      now,
    );
  const { worker: _, ...rest } = job;
  return queueAgain(record, rules, rest, { ...control, losses, lossReason: why.reason }, now);
}

/** Always legal: what waits ends at once, what runs is asked to end. With `only`, one job. */
export function requestCancel(record: RunRecord, rules: Rules, reason: string, now: string, only?: string): RunRecord {
  if (isFinal(record.state)) return record;
  let next = record;
  for (const job of record.jobs) {
    if (isFinal(job.state) || (only !== undefined && job.id !== only)) continue;
    const control = controlOf(next, job.id);
    if (control.cancelRequested) continue;
    if (job.state === 'pending')
      next = finish(next, job, { state: 'cancelled', reason, outputs: {}, infrastructure: false }, now);
    else next = withJob(next, job, { ...control, cancelRequested: reason });
  }
  return next === record ? record : advance(next, rules, now);
}

/** The group's line has come to this job, or (id '') to the whole run. */
export function grantGroup(record: RunRecord, rules: Rules, id: string, now: string): RunRecord {
  if (isFinal(record.state)) return record;
  if (id === '') {
    if (record.group !== 'waiting') return record;
    const jobs = record.jobs.map((job) => (job.state === 'pending' ? without(job, 'waitingFor') : job));
    return advance({ ...record, group: 'granted', jobs }, rules, now);
  }
  const job = jobOf(record, id);
  const control = controlOf(record, id);
  if (job?.state !== 'pending' || control.group !== 'waiting') return record;
  return advance(withJob(record, without(job, 'waitingFor'), { ...control, group: 'granted' }), rules, now);
}

/** Idempotent: skips and readies what can be, and ends the run when every job has ended. */
export function advance(record: RunRecord, rules: Rules, now: string): RunRecord {
  if (isFinal(record.state)) return record;
  // The whole run waits for its group; what is skipped anyway does not.
  const gated = rules.plan.concurrency !== undefined && record.group !== 'granted';
  let next: RunRecord = gated && record.group === undefined ? { ...record, group: 'waiting' } : record;
  for (let moved = true; moved;) {
    moved = false;
    for (const spec of rules.plan.jobs) {
      const job = jobOf(next, spec.id);
      const control = next.control[spec.id];
      if (job?.state !== 'pending' || !control || control.readyAt) continue;
      const verdict = judge(next, spec, rules);
      const group = gated ? rules.plan.concurrency : spec.concurrency;
      if (verdict.kind === 'ready' && group && (gated || control.group !== 'granted')) {
        if (control.group === 'waiting' || (gated && job.waitingFor !== undefined)) continue;
        const place = gated ? {} : { group: 'waiting' as const };
        next = withJob(next, { ...job, waitingFor: `concurrency group ${group.group}` }, { ...control, ...place });
        continue;
      }
      if (verdict.kind === 'ready') next = ready(next, spec, job, control, now);
      else if (verdict.kind === 'wait') {
        if (job.waitingFor === verdict.for) continue;
        next = withJob(next, { ...job, waitingFor: verdict.for }, control);
        continue;
      } else
        next = finish(
          next,
          job,
          { state: verdict.kind, reason: verdict.reason, outputs: {}, infrastructure: false },
          now,
        );
      moved = true;
    }
  }
  if (!next.jobs.every((job) => isFinal(job.state))) return next;
  return { ...next, ...verdictOf(next), endedAt: now };
}

/** Says of jobs that wait for a worker why none takes them, as far as there is a reason. */
export function explainWaiting(
  record: RunRecord,
  rules: Rules,
  whyNot: (labels: readonly string[]) => string | undefined,
  at: string,
): RunRecord {
  let next = record;
  for (const spec of rules.plan.jobs) {
    const job = jobOf(next, spec.id);
    const control = controlOf(next, spec.id);
    if (job?.state !== 'pending' || control.readyAt === undefined) continue;
    const waitingFor = readyWaitsFor(spec, control, at, whyNot(spec.runsOn));
    if (job.waitingFor !== waitingFor) next = withJob(next, { ...job, waitingFor }, control);
  }
  return next;
}

function ready(record: RunRecord, spec: JobSpec, job: Job, control: JobControl, now: string): RunRecord {
  return withJob(record, { ...job, waitingFor: readyWaitsFor(spec, control, now) }, { ...control, readyAt: now });
}

/** For a worker that held it: its ticket worked once. */
function queueAgain(record: RunRecord, rules: Rules, job: Job, control: JobControl, now: string): RunRecord {
  const spec = specOf(rules.plan, job.id);
  const waiting = spec === undefined ? {} : { waitingFor: readyWaitsFor(spec, control, now) };
  return withJob(
    record,
    { ...job, state: 'pending', ...waiting },
    { ...control, fence: control.fence + 1, readyAt: now },
  );
}

function mayRetry(spec: JobSpec, control: JobControl, end: JobOutcome): boolean {
  if (control.retries >= spec.retry.count) return false;
  if (end.state === 'errored') return spec.retry.infrastructure && end.infrastructure;
  if (end.state !== 'failed') return false;
  return (
    spec.retry.exitCodes === undefined || (end.exitCode !== undefined && spec.retry.exitCodes.includes(end.exitCode))
  );
}

function finish(record: RunRecord, job: Job, end: JobOutcome, now: string): RunRecord {
  const { waitingFor: _, reason: __, ...rest } = job;
  const why = end.reason ?? `the job ${inWords(end.state)}`;
  const steps = job.steps.map((step): Step => {
    if (isFinal(step.state)) return step;
    const reason = step.reason ?? why;
    if (step.state === 'running')
      return { ...step, state: end.state === 'cancelled' ? 'cancelled' : 'errored', reason, endedAt: now };
    return { ...step, state: 'skipped', reason };
  });
  const ended: Job = { ...rest, state: end.state, endedAt: now, steps };
  if (end.reason !== undefined) ended.reason = end.reason;
  if (Object.keys(end.outputs).length > 0) ended.outputs = end.outputs;
  return withJob(record, ended, controlOf(record, job.id));
}

/** A run's final state from its jobs': the user's failure before ours, an allowed failure not at all. */
function verdictOf(record: RunRecord): { state: FinalState; reason?: string } {
  const counted = record.jobs.filter(
    (job) => !(job.allowFailure === true && (job.state === 'failed' || job.state === 'errored')),
  );
  for (const state of ['cancelled', 'failed', 'errored'] as const) {
    const job = counted.find((one) => one.state === state);
    if (job) return { state, reason: job.reason ?? `${job.name} ${inWords(state)}` };
  }
  const [first] = record.jobs;
  if (first && record.jobs.every((job) => job.state === 'skipped'))
    return { state: 'skipped', reason: first.reason ?? 'nothing to run' };
  return { state: 'succeeded' };
}

function freshSteps(spec: JobSpec): Step[] {
  return spec.steps.map((step) => ({ name: step.name, state: 'pending' }));
}

/** Whether this fence still holds the job. */
export function holds(record: RunRecord, id: string, fence: number): boolean {
  return held(record, id, fence) !== undefined;
}

function held(record: RunRecord, id: string, fence: number): Job | undefined {
  const job = jobOf(record, id);
  return job?.state === 'running' && record.control[id]?.fence === fence ? job : undefined;
}

function without<T extends object, K extends keyof T>(value: T, key: K): Omit<T, K> {
  const { [key]: _, ...rest } = value;
  return rest;
}

function controlOf(record: RunRecord, id: string): JobControl {
  return record.control[id] ?? { fence: 0, losses: 0, retries: 0 };
}

function withJob(record: RunRecord, job: Job, control: JobControl): RunRecord {
  return {
    ...record,
    jobs: record.jobs.map((other) => (other.id === job.id ? job : other)),
    control: record.control[job.id] === control ? record.control : { ...record.control, [job.id]: control },
  };
}
