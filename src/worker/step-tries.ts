/** The tries of one step, and what is done around them in its workspace: caches before, artifacts and caches after. */
import { type Exit, type StartOptions } from '../executors/executor.ts';
import { capLimits } from '../executors/limits.ts';
import { ImpGemError, LostJobError } from '../errors.ts';
import type { StepSpec } from '../runs/plan.ts';
import { parseHandover } from './handover.ts';
import type { JobScope, StepView } from './job-scope.ts';
import { artifactsDue, keepArtifacts } from './keep-artifacts.ts';
import { cacheScope, restoreCaches, saveCaches, type CacheJob, type HeldCache } from './step-caches.ts';
import type { StepLog } from './step-log.ts';
import { endOf, errorEnd, explainExit, mayRetry, type StepResult, type TryEnd } from './step-rules.ts';
import { resolveTask, taskId, upcomingTask, upcomingTasks } from './step-task.ts';
import { formatDuration, pause, startClock, stopOf, timedOut, type Stop } from './stop.ts';

/** The try that is under way, as the journal keeps it. */
export interface CurrentTry {
  startedAt: string;
  retry: number;
  /** ms since 1970: the step's time limit is counted from here. */
  tryStartedAt: number;
  /** Where the try's output begins in the step's log. */
  offset: number;
  caches: HeldCache[];
}

export interface StepRun {
  job: JobScope;
  index: number;
  step: StepSpec;
  view: StepView;
  log: StepLog;
  /** Ends the step: the job's stop, a limit. */
  stop: AbortSignal;
  startedAt: string;
  /** The try that an earlier worker left running. */
  current: CurrentTry | undefined;
  keep: (current: CurrentTry) => void;
  onStarted: () => void;
}

/** So often a task is started again whose script did not get there. */
const START_AGAIN = 3;

export type StepEnd = Omit<StepResult, 'startedAt' | 'endedAt' | 'allowed'>;

/** Throws LostJobError only. */
export async function executeStep(run: StepRun): Promise<StepEnd> {
  try {
    const caches = run.current?.caches ?? (await findCaches(run));
    const end = await runTries(run, caches);
    await explain(run, end);
    return await keepResults(run, caches, end);
  } catch (error) {
    if (error instanceof LostJobError) throw error;
    return { ...NOTHING, ...errorEnd(error) };
  }
}

const NOTHING = { env: [], outputs: [], path: [] };

async function runTries(run: StepRun, caches: HeldCache[]): Promise<StepEnd> {
  const { step, stop, log, job, index } = run;
  for (let retry = run.current?.retry ?? 0; ; retry++) {
    const adopted = retry === run.current?.retry ? run.current : undefined;
    const end = await runTry(run, caches, retry, adopted);
    if (stop.aborted || !mayRetry(step.retry, retry + 1, end)) return end;
    job.sandbox.expect([upcomingTask(job.spec, job.limits, index, retry + 1)]);
    const wait = step.retry.delayMs > 0 ? ` in ${formatDuration(step.retry.delayMs)}` : '';
    await log.note(`${inWords(end)}: retry ${retry + 1} of ${step.retry.count}${wait}`);
    if (!(await pause(step.retry.delayMs, stop)))
      return { ...NOTHING, ...stopOf(stop), state: stopOf(stop)?.state ?? 'cancelled' };
  }
}

function inWords(end: TryEnd): string {
  return end.reason ?? `exit code ${end.exitCode ?? 'unknown'}`;
}

async function runTry(
  run: StepRun,
  caches: HeldCache[],
  retry: number,
  adopted: CurrentTry | undefined,
): Promise<StepEnd> {
  const { step, log } = run;
  const tryStartedAt = adopted?.tryStartedAt ?? Date.now();
  const clock = new AbortController();
  const signal = AbortSignal.any([run.stop, clock.signal]);
  const limit = step.timeoutMs;
  const stopClock =
    limit === undefined ? undefined : startClock(tryStartedAt + limit - Date.now(), () => clock.abort(timedOut(limit)));
  try {
    if (!adopted) run.keep({ startedAt: run.startedAt, retry, tryStartedAt, offset: log.length(), caches });
    const started = await startTask(run, retry, { signal });
    run.onStarted();
    const exit = await followTask(started, log, clock);
    return readExit(exit, signal);
  } catch (error) {
    if (error instanceof LostJobError) throw error;
    return { ...NOTHING, ...errorEnd(error) };
  } finally {
    stopClock?.();
  }
}

/** Starts the task, or follows the one that an earlier worker started. In an object, so that nobody waits for the exit yet. */
async function startTask(run: StepRun, retry: number, options: StartOptions): Promise<{ exit: Promise<Exit> }> {
  const { job, index, log } = run;
  const id = taskId(index, retry);
  const start = async (): Promise<{ exit: Promise<Exit> }> => {
    const task = await resolveTask(job, index, retry, run.view);
    const exit = job.sandbox.start(task, log, options);
    job.sandbox.expect(upcomingTasks(job.spec, job.limits, job.begun, run.view.failed !== undefined));
    return { exit };
  };
  // Nothing of a script that was lost on its way has run.
  const unlessLost = (exit: Promise<Exit>, again: number): Promise<Exit> =>
    exit.catch(async (error: unknown) => {
      const isLost = error instanceof ImpGemError && error.code === 'task-not-started' && again > 0;
      if (isLost) return unlessLost((await start()).exit, again - 1);
      throw error;
    });
  const { exit } = job.adopted?.started.includes(id) ? { exit: job.adopted.resume(id, log, options) } : await start();
  return { exit: unlessLost(exit, START_AGAIN) };
}

/** The exit, with all output stored. When the log's store fails, the task is ended first: nobody would see what it does. */
async function followTask(task: { exit: Promise<Exit> }, log: StepLog, end: AbortController): Promise<Exit> {
  try {
    const exit = await Promise.race([task.exit, log.broken]);
    await log.flush();
    return exit;
  } catch (error) {
    if (error instanceof LostJobError) {
      // It may be the same task that the new owner follows: it is left alone, and its exit is no longer ours to know.
      task.exit.catch(() => undefined);
      throw error;
    }
    end.abort({ state: 'errored', reason: 'the log could not be stored' } satisfies Stop);
    await Promise.allSettled([task.exit]);
    throw error;
  }
}

function readExit(exit: Exit, signal: AbortSignal): StepEnd {
  const handed = parseHandover(exit.handover);
  let end = endOf(exit, stopOf(signal));
  if (end.state === 'succeeded' && handed.problems.length > 0)
    end = { state: 'failed', reason: handed.problems.join('; ') };
  return {
    ...end,
    env: [...handed.env],
    outputs: [...handed.outputs],
    path: handed.path,
    ...(handed.summary === undefined ? {} : { summary: handed.summary }),
    ...(exit.image === undefined ? {} : { image: exit.image }),
  };
}

async function explain({ log, job, step }: StepRun, end: TryEnd): Promise<void> {
  const words = explainExit(end, capLimits(step.limits, job.limits).memory) ?? end.reason;
  if (words !== undefined) await log.note(words);
}

function cacheJob({ job, log }: StepRun): CacheJob {
  return {
    store: job.ports.caches,
    scope: cacheScope(job.assignment),
    roots: { workspace: job.folder.workspace, home: job.folder.home },
    note: (text) => log.note(text),
  };
}

async function findCaches(run: StepRun): Promise<HeldCache[]> {
  const { job, step, view } = run;
  if (step.caches.length === 0) return [];
  const scope = { env: { ...job.env, ...Object.fromEntries(view.env) } };
  await job.sandbox.pull();
  const specs = [];
  for (const cache of step.caches) {
    const key = await job.resolver.text(cache.key, scope);
    const restoreKeys = [];
    for (const restoreKey of cache.restoreKeys) restoreKeys.push(await job.resolver.text(restoreKey, scope));
    specs.push({ ...cache, key, restoreKeys });
  }
  const held = await restoreCaches(cacheJob(run), specs);
  if (held.some((cache) => cache.found !== undefined)) await job.sandbox.push();
  return held;
}

/** Artifacts (of a failed step as well) and caches, once the step's processes are gone. A failure here fails the step. */
async function keepResults(run: StepRun, caches: HeldCache[], end: StepEnd): Promise<StepEnd> {
  const { job, step, log } = run;
  const succeeded = end.state === 'succeeded';
  const artifacts = end.state === 'cancelled' ? [] : artifactsDue(step.artifacts, succeeded);
  const unsaved = succeeded ? caches.filter(({ spec, found }) => found !== spec.key) : [];
  if (artifacts.length === 0 && unsaved.length === 0) return end;
  try {
    await job.sandbox.pull();
    const { workspace } = job.folder;
    const {
      run: { id },
      spec,
    } = job.assignment;
    const target = {
      store: job.ports.artifacts,
      run: id,
      job: spec.id,
      workspace,
      note: (text: string) => log.note(text),
    };
    await keepArtifacts(target, artifacts, Date.now());
    await saveCaches(cacheJob(run), unsaved);
    return end;
  } catch (error) {
    if (error instanceof LostJobError || !succeeded) throw error;
    const failure = errorEnd(error);
    await log.note(failure.reason);
    return { ...end, ...failure };
  }
}
