/** Whether a job whose turn has not come may run: small rules over the states of what it needs. */
import type { Status } from '../pipeline/expression.ts';
import { inWords, jobOf, specOf } from './lookups.ts';
import type { JobSpec, Plan } from './plan.ts';
import { type Job, type RunRecord, isFinal } from './run.ts';

/** Decides an `if` that reads how it went so far; gives an error sentence when it cannot be evaluated. */
export type DecideIf = (spec: JobSpec, record: RunRecord, status: Status) => boolean | { error: string };

/** What `advance` needs to know beside the record. */
export interface Rules {
  plan: Plan;
  decideIf: DecideIf;
  /** How often a job may lose its worker before it ends `errored`. */
  maxLosses: number;
}

export type Verdict =
  | { kind: 'ready' }
  | { kind: 'wait'; for: string }
  | { kind: 'skipped'; reason: string }
  | { kind: 'errored'; reason: string };

export function judge(record: RunRecord, spec: JobSpec, rules: Rules): Verdict {
  if (spec.skip !== undefined) return { kind: 'skipped', reason: spec.skip };
  const needs = spec.needs.flatMap((need) => {
    const job = jobOf(record, need.job);
    return job ? [{ ...need, state: job.state, name: job.name, passes: passes(job) }] : [];
  });
  const open = needs.filter((need) => !isFinal(need.state));
  if (open.length > 0)
    return { kind: 'wait', for: `job${open.length > 1 ? 's' : ''} ${open.map((need) => need.name).join(', ')}` };
  const bad = needs.find((need) => !need.passes && !(need.optional && need.state === 'skipped'));
  const status: Status = { success: bad === undefined, failure: anyFailed(record, spec, rules.plan) };
  if (spec.runsOnStatus === 'failure' && !status.failure)
    return { kind: 'skipped', reason: 'runs only when something it needs fails' };
  if (spec.runsOnStatus === 'success' && bad)
    return { kind: 'skipped', reason: `needs ${bad.name}, which ${inWords(bad.state)}` };
  if (spec.if === undefined) return { kind: 'ready' };
  const decided = rules.decideIf(spec, record, status);
  if (typeof decided === 'object') return { kind: 'errored', reason: decided.error };
  return decided ? { kind: 'ready' } : { kind: 'skipped', reason: `if: ${spec.if} is false` };
}

/** A failure anywhere behind the job counts: what lies between was skipped because of it. */
function anyFailed(record: RunRecord, spec: JobSpec, plan: Plan, seen = new Set<string>()): boolean {
  return spec.needs.some((need) => {
    if (seen.has(need.job)) return false;
    seen.add(need.job);
    const job = jobOf(record, need.job);
    const behind = specOf(plan, need.job);
    if (job && job.state !== 'skipped') return !passes(job);
    return behind !== undefined && anyFailed(record, behind, plan, seen);
  });
}

function passes(job: Job): boolean {
  return (
    job.state === 'succeeded' || ((job.state === 'failed' || job.state === 'errored') && job.allowFailure === true)
  );
}
