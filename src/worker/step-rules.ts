/** The rules of the steps of one job, as pure functions: order, whether a step runs, what its exit means, the job's state. */
import { ImpGemError, InputError, InfrastructureError, messageOf } from '../errors.ts';
import type { Exit } from '../executors/executor.ts';
import type { Status } from '../pipeline/expression.ts';
import type { JobSpec, Retry, StepSpec } from '../runs/plan.ts';
import type { FinalState } from '../runs/run.ts';
import type { JobResult } from './ports.ts';
import type { Stop } from './stop.ts';

/** How a step ended, and what it hands on. Plain JSON: it stands in the journal. */
export interface StepResult {
  state: FinalState;
  reason?: string;
  exitCode?: number;
  startedAt?: string;
  endedAt?: string;
  summary?: string;
  /** As Exit has it. */
  image?: string;
  /** Ended badly, and the pipeline lets it pass. */
  allowed?: boolean;
  /** Ended badly by our fault. */
  infrastructure?: boolean;
  env: [string, string][];
  outputs: [string, string][];
  path: string[];
}

/** How one try of a step ended. */
export type TryEnd = Pick<StepResult, 'state' | 'reason' | 'exitCode' | 'infrastructure'>;

/** Places of the steps that must have ended (a background step: started) before this one. */
export function directNeeds(spec: JobSpec, index: number): number[] {
  if (!spec.graph) return index === 0 ? [] : [index - 1];
  const names = new Set(spec.steps[index]?.needs.map((need) => need.step));
  return spec.steps.flatMap((step, other) => (names.has(step.name) && other !== index ? [other] : []));
}

/** Every step behind this one, in the order of the file: whose failures it sees and whose variables it gets. */
export function stepsBehind(spec: JobSpec, index: number): number[] {
  const seen = new Set<number>();
  const walk = (at: number): void => {
    for (const need of directNeeds(spec, at)) {
      if (seen.has(need)) continue;
      seen.add(need);
      walk(need);
    }
  };
  walk(index);
  return [...seen].sort((a, b) => a - b);
}

export function counts(result: StepResult | undefined): boolean {
  return result !== undefined && isBad(result.state) && result.allowed !== true;
}

function isBad(state: FinalState): boolean {
  return state === 'failed' || state === 'errored' || state === 'cancelled';
}

/** What a step waits on, besides its turn. */
export interface Behind {
  /** Name of a failed step behind it. */
  failed?: string;
  /** Name of a skipped step that it cannot do without. */
  missing?: string;
}

/** What a step's `status` goes by, and its `success()` and `failure()` tell. */
export function statusAfter(behind: Behind): Status {
  return { success: troubleBehind(behind) === undefined, failure: behind.failed !== undefined };
}

function troubleBehind({ failed, missing }: Behind): string | undefined {
  if (failed !== undefined) return `step ${failed} failed`;
  return missing === undefined ? undefined : `needs ${missing}, which was skipped`;
}

/** Why a step does not run; undefined when it may (its `if` not yet asked). */
export function reasonToSkip(step: StepSpec, behind: Behind, stop: Stop | undefined): string | undefined {
  if (step.skip !== undefined) return step.skip;
  if (stop && !runsLate(step, stop)) return `the job ended first: ${stop.reason}`;
  if (step.runsOnStatus === 'success') return troubleBehind(behind);
  if (step.runsOnStatus === 'failure' && !statusAfter(behind).failure) return 'runs only after a failure';
  return undefined;
}

/** Whether a step runs although its job was ended. A failure of ours may go on failing it: then nothing more is tried. */
export function runsLate(step: StepSpec, stop: Stop): boolean {
  return step.runsOnStatus === 'always' && !step.background && stop.infrastructure !== true;
}

/** What an exit means. `stop`: why we ended the task, if we did. */
export function endOf(exit: Exit, stop: Stop | undefined): TryEnd {
  if (exit.reason === 'cancelled' && stop) return { ...stop };
  if (exit.reason === 'out of memory') return { state: 'failed', reason: 'out of memory', exitCode: exit.code };
  if (exit.code === 0) return { state: 'succeeded', exitCode: 0 };
  return { state: 'failed', exitCode: exit.code };
}

/** What an error makes of a step: `errored`, for it is ours, unless what the pipeline asks for cannot be done. */
export function errorEnd(error: unknown): Stop {
  if (error instanceof InputError) return { state: 'failed', reason: error.message };
  const known = error instanceof ImpGemError;
  return {
    state: 'errored',
    reason: known ? error.message : `internal error: ${messageOf(error)}`,
    infrastructure: !known || error instanceof InfrastructureError,
  };
}

/** `tries`: how many there were. A time-out counts as a failure without an exit code. */
export function mayRetry(retry: Retry, tries: number, end: TryEnd): boolean {
  if (tries > retry.count) return false;
  if (end.state === 'errored') return retry.infrastructure && end.infrastructure === true;
  if (end.state !== 'failed') return false;
  return retry.exitCodes === undefined || (end.exitCode !== undefined && retry.exitCodes.includes(end.exitCode));
}

export function isAllowed(allow: StepSpec['allowFailure'], end: TryEnd): boolean {
  if (end.state !== 'failed') return false;
  return typeof allow === 'boolean' ? allow : end.exitCode !== undefined && allow.includes(end.exitCode);
}

/** Words for exit codes that do not speak for themselves. */
export function explainExit(end: TryEnd, memory: number | undefined): string | undefined {
  const limit = memory === undefined ? '' : ` (limit ${formatSize(memory)})`;
  if (end.reason === 'out of memory') return `killed: out of memory${limit}`;
  if (end.exitCode === 124) return 'exit code 124: a command inside the step timed out';
  if (end.exitCode === 137) return `exit code 137: a process was killed; often it needed more memory${limit}`;
  if (end.exitCode === 143) return 'exit code 143: a process was terminated (SIGTERM)';
  return undefined;
}

/** `4 GiB`, `512 MiB`, `1000 bytes`. */
export function formatSize(bytes: number): string {
  for (const [unit, size] of [
    ['GiB', 1024 ** 3],
    ['MiB', 1024 ** 2],
    ['KiB', 1024],
  ] as const)
    if (bytes >= size) return `${Number((bytes / size).toFixed(1))} ${unit}`;
  return `${bytes} bytes`;
}

/** The job's outcome: why it was ended, else our fault, else the first failure that counts. */
export function outcomeOf(
  spec: JobSpec,
  results: readonly (StepResult | undefined)[],
  stop: Stop | undefined,
): Omit<JobResult, 'outputs'> {
  if (stop) return { state: stop.state, reason: stop.reason, infrastructure: stop.infrastructure === true };
  const bad = [...results.entries()].filter(([, result]) => counts(result));
  const [index, result] = bad.find(([, one]) => one?.state === 'errored') ?? bad[0] ?? [];
  if (index === undefined || !result) return { state: 'succeeded', infrastructure: false };
  const what = result.reason ?? `failed with exit code ${result.exitCode ?? 'unknown'}`;
  return {
    state: result.state,
    reason: `step ${spec.steps[index]?.name ?? index}: ${what}`,
    infrastructure: result.infrastructure === true,
    ...(result.exitCode === undefined ? {} : { exitCode: result.exitCode }),
  };
}
