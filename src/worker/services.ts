/** Services of a job: started together, each with a log of its own that grows until the job's end. */
import { messageOf } from '../errors.ts';
import type { AdoptedJob, JobSandbox, Output } from '../executors/executor.ts';
import { isRestLeftOut, restLeftOut, waitForRest } from '../executors/rest-of-output.ts';
import type { ServiceSpec } from '../runs/plan.ts';
import { logKey } from './job-scope.ts';
import type { Assignment, LogWriter } from './ports.ts';
import type { Resolver } from './resolver.ts';
import { createStepLog, type StepLog } from './step-log.ts';

export interface ServicesJob {
  assignment: Assignment;
  sandbox: JobSandbox;
  adopted?: AdoptedJob;
  writer: LogWriter;
  hidden: string[];
  env: Record<string, string>;
  resolver: Resolver;
  logLimit: number;
  stop: AbortSignal;
  note: (text: string) => void;
}

export interface RunningServices {
  /** Ends them (that is what `dispose` of the sandbox does), waits a while for their last output and closes the logs. */
  close(dispose: () => Promise<void>): Promise<void>;
}

/** Settles when all are ready; rejects with the executor's `service-...` error. `close` is due in either case. */
export function startServices(job: ServicesJob): RunningServices & { ready: Promise<void> } {
  const logs: ServiceLog[] = [];
  let closing = false;
  const tell = (text: string): void => {
    if (!closing && !job.stop.aborted) job.note(text);
  };
  const onRunning = (name: string, ended: Promise<number>): void => {
    ended.then(
      (code) => {
        if (code !== 0) tell(`service ${name} ended with exit code ${code}`);
      },
      // A step that needs it fails or is lost by itself.
      (error: unknown) => tell(`service ${name} is followed no more: ${messageOf(error)}`),
    );
  };
  const starts = job.assignment.spec.services.map((service) => startOne(job, service, { logs, onRunning }));
  const ready = Promise.all(starts).then(() => undefined);
  return {
    ready,
    close: async (dispose) => {
      closing = true;
      await dispose();
      await Promise.allSettled(starts);
      await Promise.all(logs.map((one) => endOutput(one, job.stop)));
      for (const { log, cut } of logs) {
        await log.flush();
        if (cut !== undefined) await log.note(cut);
        await log.close();
      }
    },
  };
}

interface ServiceLog {
  log: StepLog;
  ended: Promise<unknown>;
  /** Why its output is taken no more, which was not at its end. */
  cut?: string;
}

/** A service that prints faster than its log takes it must not hold the job. */
async function endOutput(one: ServiceLog, cancelled: AbortSignal): Promise<void> {
  if (await waitForRest(one.ended, cancelled)) await one.ended.catch((error: unknown) => setCut(one, error));
  else setCut(one, restLeftOut());
}

function setCut(one: ServiceLog, error: unknown): void {
  if (isRestLeftOut(error)) one.cut = messageOf(error);
}

interface Started {
  logs: ServiceLog[];
  onRunning: (name: string, ended: Promise<number>) => void;
}

async function startOne(job: ServicesJob, spec: ServiceSpec, { logs, onRunning }: Started): Promise<void> {
  const part = `service-${spec.name}`;
  const key = logKey(job.assignment, part);
  const stored = job.adopted ? await job.writer.length(key) : 0;
  const log = createStepLog({
    writer: job.writer,
    key,
    secrets: job.hidden,
    limit: job.logLimit,
    ...(job.adopted ? { from: { offset: 0, stored } } : {}),
  });
  const one: ServiceLog = { log, ended: Promise.resolve() };
  logs.push(one);
  const output: Output = { write: (bytes) => (one.cut !== undefined ? Promise.resolve() : log.write(bytes)) };
  const follow = (ended: Promise<number>): void => {
    one.ended = ended;
    onRunning(spec.name, ended);
  };
  if (job.adopted?.started.includes(part)) {
    const resumed = job.adopted.resume(part, output, { signal: job.stop });
    follow(resumed.then(({ code }) => code));
    return;
  }
  const env = await job.resolver.record(spec.env, { env: job.env });
  const task = { ...spec, env: { ...job.env, ...env } };
  const service = await job.sandbox.startService(task, output, { signal: job.stop });
  follow(service.ended);
}
