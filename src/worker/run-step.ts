/** One step from its turn to its end: whether it runs, that it is told in order, and that a later worker can carry it on. */
import { messageOf } from '../errors.ts';
import type { StepSpec } from '../runs/plan.ts';
import type { LogKey } from '../runs/run.ts';
import { logKey, viewOf, type JobScope, type StepView } from './job-scope.ts';
import { createStepLog, maskText, type StepLog } from './step-log.ts';
import {
  formatSize,
  isAllowed,
  reasonToSkip,
  runsLate,
  statusAfter,
  type StepResult,
  type TryEnd,
} from './step-rules.ts';
import { stepAt } from './step-task.ts';
import { executeStep, type CurrentTry } from './step-tries.ts';
import { stopOf, type Stop } from './stop.ts';

/** What the journal knows of a step: its end, or the try that was under way. */
interface StepEntry {
  result?: StepResult;
  current?: CurrentTry;
}

/**
 * Gives how the step ended, also when that was our fault. Throws LostJobError only: the job belongs to another worker.
 * `onStarted` is called when its first task is on its way.
 */
export async function runStep(
  job: JobScope,
  index: number,
  jobStop: AbortSignal,
  onStarted: () => void,
): Promise<StepResult> {
  const entry = `step-${index}`;
  const { journal } = job.folder;
  job.begun.add(index);
  const { result: known, current } = (journal.load(entry) ?? {}) as StepEntry;
  const key = logKey(job.assignment, String(index));
  const end = (result: StepResult, log?: Pick<StepLog, 'close'>): StepResult => {
    journal.save(entry, { result } satisfies StepEntry);
    job.results[index] = result;
    tell(job, index, result, log);
    return result;
  };
  // The worker before may have died before its log was closed, in which everything is.
  if (known) return end(known, known.startedAt === undefined ? undefined : { close: () => job.ports.logs.close(key) });
  const step = stepAt(job.spec, index);
  const view = viewOf(job, index);
  const verdict = current ? undefined : await decide(job, step, view);
  if (verdict) return end({ ...verdict, env: [], outputs: [], path: [] });

  const startedAt = current?.startedAt ?? new Date().toISOString();
  job.reports.push(() => job.ports.report.step(index, { state: 'running', startedAt }));
  const limit = new AbortController();
  const log = createStepLog({
    writer: job.ports.logs,
    key,
    secrets: job.hidden,
    limit: job.logLimit,
    onLimit: () =>
      limit.abort({ state: 'failed', reason: `log limit of ${formatSize(job.logLimit)} reached` } satisfies Stop),
    ...(job.adopted ? { from: await whereToGoOn(job, key, current) } : {}),
  });
  const ended = stopOf(job.stop);
  const stop = AbortSignal.any([
    ended && runsLate(step, ended) ? job.lateStop : jobStop,
    limit.signal,
    job.disk.signal(),
  ]);
  const how = await executeStep({
    job,
    index,
    step,
    view,
    log,
    stop,
    startedAt,
    current,
    onStarted,
    keep: (at) => journal.save(entry, { current: at } satisfies StepEntry),
  });
  const result: StepResult = { ...how, startedAt, endedAt: new Date().toISOString() };
  if (isAllowed(step.allowFailure, how)) {
    result.allowed = true;
    result.reason = `allowed to fail: ${how.reason ?? `exit code ${how.exitCode ?? 'unknown'}`}`;
  }
  return end(result, log);
}

/** Output comes again from the byte where its try began; what was said before any try, as of caches, stays as it is. */
async function whereToGoOn(
  job: JobScope,
  key: LogKey,
  current: CurrentTry | undefined,
): Promise<{ offset: number; stored: number }> {
  const stored = await job.ports.logs.length(key);
  return { offset: current?.offset ?? stored, stored };
}

/** How a step that does not run ends; undefined when it does run. */
async function decide(job: JobScope, step: StepSpec, view: StepView): Promise<TryEnd | undefined> {
  const reason = reasonToSkip(step, view, stopOf(job.stop));
  if (reason !== undefined) return { state: 'skipped', reason };
  if (step.if === undefined) return undefined;
  try {
    const env = { ...job.env, ...Object.fromEntries(view.env) };
    const passes = await job.resolver.condition(step.if, { env, status: statusAfter(view) });
    return passes ? undefined : { state: 'skipped', reason: `if: ${step.if} is false` };
  } catch (error) {
    return { state: 'failed', reason: `if: ${messageOf(error)}` };
  }
}

/** Closes the log, then tells: whoever hears of the end finds the whole log. */
function tell(job: JobScope, index: number, result: StepResult, log?: Pick<StepLog, 'close'>): void {
  const { state, reason, exitCode, startedAt, endedAt, summary, image } = result;
  // At once, not in its turn: making several logs durable side by side takes no longer than one.
  const closed = log?.close();
  closed?.catch(() => undefined);
  job.reports.push(async () => {
    await closed;
    await job.ports.report.step(index, {
      state,
      ...(reason === undefined ? {} : { reason: maskText(job.hidden, reason) }),
      ...(exitCode === undefined ? {} : { exitCode }),
      ...(startedAt === undefined ? {} : { startedAt }),
      ...(endedAt === undefined ? {} : { endedAt }),
      ...(summary === undefined ? {} : { summary: maskText(job.hidden, summary) }),
      ...(image === undefined ? {} : { image }),
    });
  });
}
