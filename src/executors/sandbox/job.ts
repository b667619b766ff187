/** A job in the sandbox executor: the folders of the job, and what runs in them. */
import { setMaxListeners } from 'node:events';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImpGemError, messageOf } from '../../errors.ts';
import type { Exit, JobContext, JobSandbox, Output, Service, ServiceTask, StartOptions, Task } from '../executor.ts';
import { createServiceOutput, type LastTry } from '../service-failures.ts';
import { diskUse } from './disk-use.ts';
import type { SandboxHost } from './host.ts';
import type { JobNetwork } from './network.ts';
import { checkService, hostsOf, type Readiness, untilReady } from './services.ts';
import { runStep, type StepTask } from './step.ts';

const TERMINATED = 143;

/** `network`: the job's own; undefined: the host's. `onOver`: nothing of the job runs any more; once. */
export function createJobSandbox(
  host: SandboxHost,
  job: JobContext,
  network: JobNetwork | undefined,
  onOver: () => void,
): JobSandbox {
  const disposed = new AbortController();
  // Any number of steps may run at once.
  setMaxListeners(0, disposed.signal);
  // Aborted to end what runs now; another one is for what starts then.
  let killed = new AbortController();
  const running = new Set<Promise<unknown>>();
  const services: string[] = [];
  const noted = new Set<string>();

  const track = (promise: Promise<unknown>): void => {
    const over = promise.then(
      () => undefined,
      () => undefined,
    );
    running.add(over);
    void over.then(() => running.delete(over));
  };
  const ignoreImage = (image: string | undefined): void => {
    if (image === undefined || noted.has(image)) return;
    noted.add(image);
    job.note(`image ${image} ignored: the sandbox executor runs on the host's own tools`);
  };
  const checkOpen = (): void => {
    if (disposed.signal.aborted) throw new ImpGemError('sandbox-disposed', 'The sandbox of this job is gone already.');
  };

  const run = async (task: StepTask, output: Output, options: StartOptions): Promise<Exit> => {
    const hosts = services.length === 0 ? undefined : join(job.folder, 'hosts');
    const result = runStep({ host, job, hosts, network }, task, output, {
      ...options,
      kill: AbortSignal.any([disposed.signal, killed.signal]),
    });
    track(result);
    const { cleaned, exit } = await result;
    track(cleaned.catch((error: unknown) => job.note(`could not clean up after a step: ${messageOf(error)}`)));
    return exit;
  };

  const start = async (task: Task, output: Output, options: StartOptions): Promise<Exit> => {
    checkOpen();
    if (task.docker) {
      throw new ImpGemError(
        'docker-needs-engine',
        'A step with `docker: true` needs the docker executor: set IMPGEM_EXECUTOR=docker on a worker with an engine.',
      );
    }
    ignoreImage(task.image);
    if (!(await readyOrAborted(job.ready, options.signal))) return notStarted();
    checkOpen();
    return run(task, output, options);
  };

  const startService = async (service: ServiceTask, output: Output, options: StartOptions): Promise<Service> => {
    checkOpen();
    const script = checkService(service);
    ignoreImage(service.image);
    if (!(await readyOrAborted(job.ready, options.signal))) {
      throw new ImpGemError('cancelled', `Starting service ${service.name} was cancelled.`);
    }
    checkOpen();
    services.push(service.name);
    await writeFile(join(job.folder, 'hosts'), hostsOf(await readFile(join(host.etc, 'hosts'), 'utf8'), services));
    const stop = new AbortController();
    const base: Omit<StepTask, 'id' | 'script'> = {
      shell: 'bash',
      env: service.env,
      path: [],
      network: 'default',
      limits: {},
    };
    const task = { ...base, id: `service-${service.name}`, script };
    const log = createServiceOutput(service.name, output);
    const exit = run(task, log, { signal: stop.signal, graceMs: 0 });
    const ended = exit.then(({ code }) => code);
    // Whoever waits for the end hears of a failing output; nobody has to.
    ended.catch(() => undefined);
    let probes = 0;
    const probe: Readiness['probe'] = async (command, shell, said, signal) => {
      probes += 1;
      const id = `ready-${service.name}-${probes}`;
      return (await run({ ...base, id, script: command, shell }, said, { signal, graceMs: 0 })).code;
    };
    let unready: LastTry | undefined;
    const onUnready = (last: LastTry): void => void (unready = last);
    try {
      await untilReady(service, { ended, probe, onUnready, signal: options.signal });
    } catch (error) {
      stop.abort();
      await Promise.allSettled([exit]);
      if (unready) await log.tell(unready);
      throw error;
    }
    return { ended };
  };

  const takeDown = async (): Promise<void> => {
    disposed.abort();
    while (running.size > 0) await Promise.all(running);
    onOver();
    await rm(join(job.folder, 'hosts'), { force: true });
  };

  let takenDown: Promise<void> | undefined;
  return {
    start,
    startService,
    dispose: () => (takenDown ??= takeDown()),
    // A sandbox starts in milliseconds: nothing is gained by starting it ahead.
    expect: () => undefined,
    push: () => Promise.resolve(),
    pull: () => Promise.resolve(),
    kill: () => {
      const ended = killed;
      killed = new AbortController();
      ended.abort();
      return Promise.resolve();
    },
    // A step's /tmp is memory.
    diskUse: () => diskUse([join(job.folder, 'workspace'), join(job.folder, 'home')], disposed.signal),
    detach: () => Promise.resolve(),
  };
}

function notStarted(): Exit {
  return { code: TERMINATED, reason: 'cancelled', handover: { env: '', output: '', path: '', summary: '' } };
}

/** False when the signal came first. */
async function readyOrAborted(ready: Promise<void>, signal: AbortSignal): Promise<boolean> {
  let stop = (): void => undefined;
  const aborted = new Promise<void>((resolve) => {
    stop = resolve;
  });
  if (signal.aborted) return false;
  signal.addEventListener('abort', stop);
  try {
    await Promise.race([ready, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
  return !signal.aborted;
}
