/**
 * An executor that runs nothing: tests say what each task answers, and see afterwards what was asked. It keeps the
 * contract (order, cancel, dispose) like a real one, which the conformance suite checks.
 */
import { rm } from 'node:fs/promises';
import { ImpGemError } from '../../errors.ts';
import type {
  AdoptedJob,
  Executor,
  Exit,
  Handover,
  JobContext,
  JobOwner,
  JobSandbox,
  Output,
  ServiceTask,
  StartOptions,
  Task,
  UpcomingTask,
} from '../executor.ts';

export interface FakeAnswer {
  /** Written one after the other. */
  output?: (string | Buffer)[];
  /** The task goes on until this settles, or it is cancelled. */
  until?: Promise<unknown>;
  /** Something the task does, in the job's folder for instance. */
  effect?: (job: JobContext) => Promise<void> | void;
  /** The engine fails instead of the task. */
  error?: Error;
  code?: number;
  reason?: NonNullable<Exit['reason']>;
  handover?: Partial<Handover>;
}

export interface FakeScript {
  task: (task: Task, job: JobContext) => FakeAnswer;
  /** A service is ready at once; `until` is its life, `error` rejects the start. */
  service?: (service: ServiceTask, job: JobContext) => FakeAnswer;
  /** Ids of the tasks that still run, for `adopt`; `resume` gives the answer of the task. */
  adopt?: (job: JobContext) => { started: string[]; answer: (taskId: string) => FakeAnswer } | undefined;
  prepare?: (job: JobContext) => Error | undefined;
  /** Default: 0. */
  diskUse?: (job: JobContext) => number;
}

export type FakeCall =
  | { call: 'prepare' | 'adopt' | 'push' | 'pull' | 'kill' | 'dispose' | 'detach'; owner: JobOwner }
  | { call: 'start'; owner: JobOwner; task: Task }
  | { call: 'end'; owner: JobOwner; task: string; code: number }
  | { call: 'resume'; owner: JobOwner; task: string }
  | { call: 'service'; owner: JobOwner; service: ServiceTask }
  | { call: 'expect'; owner: JobOwner; tasks: UpcomingTask[] };

export interface FakeExecutor extends Executor {
  /** All that was asked, in order. */
  calls: FakeCall[];
}

export function createFakeExecutor(script: FakeScript): FakeExecutor {
  const calls: FakeCall[] = [];
  return {
    name: 'fake',
    adopts: true,
    calls,
    prepare: (job) => {
      calls.push({ call: 'prepare', owner: job.owner });
      const error = script.prepare?.(job);
      return error === undefined ? Promise.resolve(createJob(script, job, calls).sandbox) : Promise.reject(error);
    },
    adopt: (job) => {
      calls.push({ call: 'adopt', owner: job.owner });
      const adopted = script.adopt?.(job);
      return Promise.resolve(adopted === undefined ? undefined : adoptJob(script, job, calls, adopted));
    },
    reap: () => Promise.resolve(0),
    removeFolder: (folder) => rm(folder, { recursive: true, force: true }),
    describe: () => Promise.resolve('fake: answers as told'),
    close: () => Promise.resolve(),
  };
}

interface FakeJob {
  sandbox: JobSandbox;
  play: (answer: FakeAnswer, output: Output, signal?: AbortSignal) => Promise<Exit>;
}

function createJob(script: FakeScript, job: JobContext, calls: FakeCall[]): FakeJob {
  const { owner } = job;
  const disposed = new AbortController();
  const running = new Set<Promise<unknown>>();

  const play = async (answer: FakeAnswer, output: Output, signal?: AbortSignal): Promise<Exit> => {
    if (disposed.signal.aborted) throw new ImpGemError('sandbox-disposed', 'The sandbox of this job is gone already.');
    const playing = answerTask(answer, job, output, [disposed.signal, ...(signal === undefined ? [] : [signal])]);
    running.add(playing);
    try {
      return await playing;
    } finally {
      running.delete(playing);
    }
  };
  const record = (call: 'push' | 'pull' | 'kill' | 'dispose' | 'detach'): Promise<void> => {
    calls.push({ call, owner });
    return Promise.resolve();
  };

  const sandbox: JobSandbox = {
    start: async (task, output, { signal }) => {
      calls.push({ call: 'start', owner, task });
      const exit = await play(script.task(task, job), output, signal);
      calls.push({ call: 'end', owner, task: task.id, code: exit.code });
      return exit;
    },
    startService: async (service, output) => {
      calls.push({ call: 'service', owner, service });
      const answer = script.service?.(service, job) ?? {};
      if (answer.error !== undefined) throw answer.error;
      await job.ready;
      return { ended: play(answer, output).then(({ code }) => code) };
    },
    expect: (tasks) => void calls.push({ call: 'expect', owner, tasks }),
    push: () => record('push'),
    pull: () => record('pull'),
    diskUse: () => Promise.resolve(script.diskUse?.(job) ?? 0),
    // A task that is cancelled ends at once.
    kill: () => record('kill'),
    detach: () => record('detach'),
    dispose: async () => {
      await record('dispose');
      disposed.abort();
      await Promise.allSettled(running);
    },
  };
  return { sandbox, play };
}

function adoptJob(
  script: FakeScript,
  job: JobContext,
  calls: FakeCall[],
  adopted: NonNullable<ReturnType<NonNullable<FakeScript['adopt']>>>,
): AdoptedJob {
  const { sandbox, play } = createJob(script, job, calls);
  return {
    sandbox,
    started: adopted.started,
    resume: (task, output, { signal }: StartOptions) => {
      calls.push({ call: 'resume', owner: job.owner, task });
      return play(adopted.answer(task), output, signal);
    },
  };
}

const CANCELLED_CODE = 143;

async function answerTask(answer: FakeAnswer, job: JobContext, output: Output, stops: AbortSignal[]): Promise<Exit> {
  const stop = AbortSignal.any(stops);
  const handover = { env: '', output: '', path: '', summary: '', ...answer.handover };
  const cancelled: Exit = { code: answer.code ?? CANCELLED_CODE, reason: 'cancelled', handover };
  if (!(await settlesBefore(stop, job.ready))) return cancelled;
  if (answer.error !== undefined) throw answer.error;
  await answer.effect?.(job);
  for (const chunk of answer.output ?? []) await output.write(typeof chunk === 'string' ? Buffer.from(chunk) : chunk);
  if (!(await settlesBefore(stop, answer.until ?? Promise.resolve()))) return cancelled;
  return { code: answer.code ?? 0, ...(answer.reason === undefined ? {} : { reason: answer.reason }), handover };
}

/** False when the signal comes first. */
async function settlesBefore(stop: AbortSignal, promise: Promise<unknown>): Promise<boolean> {
  if (stop.aborted) return false;
  const aborted = new Promise<void>((resolve) => {
    stop.addEventListener('abort', () => resolve(), { once: true });
  });
  return Promise.race([promise.then(() => true), aborted.then(() => false)]);
}
