/** A begun job to its outcome: set up, steps, outputs, the end of its services and logs. */
import { ImpGemError, InputError, LostJobError, messageOf } from '../errors.ts';
import { jobTimeout, type BegunJob, type JobFacts } from './begin-job.ts';
import { type DiskWatch, watchDisk } from './disk-watch.ts';
import { viewOf, type JobScope } from './job-scope.ts';
import type { JobResult } from './ports.ts';
import { createReportQueue } from './report-queue.ts';
import { createResolver } from './resolver.ts';
import { runSteps } from './run-steps.ts';
import { startServices, type RunningServices } from './services.ts';
import { maskText } from './step-log.ts';
import { errorEnd, outcomeOf, type StepResult } from './step-rules.ts';
import { upcomingTasks } from './step-task.ts';
import { lateStop, rejectWhenAborted, startClock, stopOf, timedOut, type Stop } from './stop.ts';

/** For the steps that always run, of a job that was ended. */
const LATE_MS = 60_000;

/** Gives the outcome, also when the failure is ours. Throws LostJobError only. */
export async function executeJob(begun: BegunJob, cancel: AbortSignal): Promise<JobResult> {
  const { stop } = begun;
  const limit = jobTimeout(begun.assignment, begun.defaults);
  const stopClock = startClock(begun.facts.startedAt + limit - Date.now(), () => stop.abort(timedOut(limit)));
  const onCancel = () => {
    // A loss is not a cancel: what runs belongs to the next worker.
    if (cancel.reason instanceof LostJobError) return;
    stop.abort({ state: 'cancelled', reason: String(cancel.reason) } satisfies Stop);
  };
  cancel.addEventListener('abort', onCancel);
  const disk = watchDisk({
    limit: begun.defaults.diskLimit,
    use: async () => (await begun.sandbox).diskUse(),
    folder: begun.folder.path,
    onOver: (why) => {
      stop.abort(why);
      // A service may be what fills it.
      void begun.sandbox.then((sandbox) => sandbox.kill()).catch(() => undefined);
    },
    onFault: (error) => begun.log.note(`its use of the disk is not watched: ${messageOf(error)}`),
  });
  const services: RunningServices[] = [];
  try {
    if (cancel.aborted) onCancel();
    const result = await runPhases(begun, services, disk).catch((error: unknown) => {
      if (error instanceof LostJobError) throw error;
      return failure(error, stop.signal);
    });
    try {
      // The outcome stands, whatever clean-up meets: the runner disposes again in the background, and says what failed.
      for (const running of services) await running.close(() => begun.dispose().catch(() => undefined));
    } finally {
      await begun.log.close();
    }
    return result;
  } catch (error) {
    if (error instanceof LostJobError) throw error;
    return failure(error, stop.signal);
  } finally {
    stopClock();
    disk.close();
    cancel.removeEventListener('abort', onCancel);
  }
}

async function runPhases(begun: BegunJob, services: RunningServices[], disk: DiskWatch): Promise<JobResult> {
  const { stop } = begun;
  let job: JobScope;
  try {
    // Nothing of the set-up is waited for once the job is stopped: a pull or a fetch may take minutes.
    job = await Promise.race([setUp(begun, services, disk), rejectWhenAborted(stop.signal)]);
  } catch (error) {
    if (error instanceof LostJobError) throw error;
    const result = failure(error, stop.signal);
    begun.log.note(result.reason ?? result.state);
    return result;
  }
  // What cannot be recorded must not run on: the next worker would run it again.
  job.reports.broken.catch((error: unknown) => {
    if (!(error instanceof LostJobError)) stop.abort(errorEnd(error));
  });
  await Promise.race([runSteps(job), lossOf(job.reports.broken)]);
  await job.reports.drain();
  const outcome = outcomeOf(job.spec, job.results, stopOf(stop.signal));
  if (outcome.reason !== undefined) outcome.reason = maskText(job.hidden, outcome.reason);
  return withOutputs(job, outcome, (text) => begun.log.note(text));
}

/** Everything before the first step; what can be done side by side is. */
async function setUp(begun: BegunJob, services: RunningServices[], disk: DiskWatch): Promise<JobScope> {
  const { assignment, folder, ports, defaults, stop, facts } = begun;
  const { spec } = assignment;
  const results: (StepResult | undefined)[] = [];
  const workspace = async (): Promise<string> => {
    await begun.ready;
    await (await begun.sandbox).pull();
    return folder.workspace;
  };
  const resolver = createResolver({ assignment, results, workspace });
  const sandbox = await begun.sandbox;
  sandbox.expect(upcomingTasks(spec, defaults.limits, new Set(), false));
  const secrets = await begun.secrets;
  const hidden = [...secrets.values()];
  const env = facts.ready?.env ?? (await resolver.record(spec.env, { env: {} }));
  stop.signal.throwIfAborted();
  const running = startServices({
    assignment,
    sandbox,
    ...(begun.adopted ? { adopted: begun.adopted } : {}),
    writer: ports.logs,
    hidden,
    env,
    resolver,
    logLimit: defaults.logLimit,
    stop: stop.signal,
    note: (text) => begun.log.note(text),
  });
  if (spec.services.length > 0) services.push(running);
  await Promise.all([running.ready, begun.ready]);
  const objects = begun.objects();
  const known: JobFacts = { ...facts, ready: { env }, ...(objects === undefined ? {} : { objects }) };
  folder.journal.save('job', known);
  return {
    assignment,
    spec,
    folder,
    ports,
    sandbox,
    ...(begun.adopted ? { adopted: begun.adopted } : {}),
    stop: stop.signal,
    lateStop: lateStop(stop.signal, defaults.lateMs ?? LATE_MS),
    secrets,
    hidden,
    env,
    resolver,
    limits: defaults.limits,
    logLimit: defaults.logLimit,
    disk,
    reports: createReportQueue(),
    begun: new Set(),
    results,
  };
}

/** Rejects when the job was lost; other errors stop the job in order. */
function lossOf(broken: Promise<never>): Promise<never> {
  return new Promise((_, reject) => {
    broken.catch((error: unknown) => {
      if (error instanceof LostJobError) reject(error);
    });
  });
}

function failure(error: unknown, stop: AbortSignal): JobResult {
  const { state, reason, infrastructure } = stopOf(stop) ?? setUpEnd(error);
  return { state, reason, outputs: {}, infrastructure: infrastructure === true };
}

/** A service that does not come up is the pipeline's failure; what else happens before the first step is ours. */
function setUpEnd(error: unknown): Stop {
  const byService = error instanceof ImpGemError && error.code.startsWith('service-');
  return byService ? { state: 'failed', reason: error.message } : errorEnd(error);
}

/** What one job may hand to the next ones; it stands in the run's record. */
const MAX_OUTPUTS = 256 * 1024;

async function withOutputs(
  job: JobScope,
  outcome: Omit<JobResult, 'outputs'>,
  note: (text: string) => void,
): Promise<JobResult> {
  const { spec, resolver } = job;
  if (Object.keys(spec.outputs).length === 0 || outcome.state === 'cancelled') return { ...outcome, outputs: {} };
  try {
    const behind = spec.steps.map((_, index) => [...viewOf(job, index).env, ...(job.results[index]?.env ?? [])]);
    const env = { ...job.env, ...Object.fromEntries(behind.flat()) };
    const resolved = await resolver.record(spec.outputs, { env });
    const outputs = Object.fromEntries(
      Object.entries(resolved).map(([name, value]) => [name, maskText(job.hidden, value)]),
    );
    const bytes = Buffer.byteLength(JSON.stringify(outputs));
    if (bytes > MAX_OUTPUTS)
      throw new InputError('outputs-too-large', `the job's outputs have ${bytes} bytes; at most ${MAX_OUTPUTS} fit`);
    for (const [name, value] of Object.entries(outputs))
      if (value !== resolved[name]) note(`output ${name} holds a secret: jobs that need this one get *** in its place`);
    return { ...outcome, outputs };
  } catch (error) {
    // A job that failed keeps its own reason.
    return outcome.state === 'succeeded' ? failure(error, job.stop) : { ...outcome, outputs: {} };
  }
}
