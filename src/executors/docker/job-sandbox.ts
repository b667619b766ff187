import { setMaxListeners } from 'node:events';
import { ImpGemError, LostJobError } from '../../errors.ts';
import {
  STEP_PATHS,
  type AdoptedJob,
  type Exit,
  type Handover,
  type JobContext,
  type JobSandbox,
  type Output,
  type Service,
  type ServiceTask,
  type StartOptions,
  type Task,
  type UpcomingTask,
} from '../executor.ts';
import { waitForRest } from '../rest-of-output.ts';
import { addLateOnes } from './adopt-slot.ts';
import type { ExecutorParts } from './parts.ts';
import { diskUse } from './disk-use.ts';
import { createFilesOwner } from './files-owner.ts';
import { linkObjects } from './link-objects.ts';
import { createNestedEngine } from './nested-engine.ts';
import { withNestedHost } from './nested-socket.ts';
import { followStep, killContainer, livesOn, type RunningStep, stopContainer } from './run-step.ts';
import { removeSlot, type Slot } from './slot.ts';
import { untilReady } from './service-ready.ts';
import { followService, openService, type StartedService } from './services.ts';
import { pullFiles, pushFiles, pushFolder } from './volumes.ts';
import { readStarted, recordSlot, recordStarted } from './slot-record.ts';
import { handOver, letGo, stepFolder, type WaitingStep } from './step-container.ts';
import { openLog } from './step-folder.ts';
import { unlessAborted } from './unless-aborted.ts';
import type { WarmSlot } from './warm-slots.ts';

const NOTHING: Handover = { env: '', output: '', path: '', summary: '' };
const CANCELLED: Exit = { code: 143, reason: 'cancelled', handover: NOTHING };

/** The JobSandbox over a slot that belongs to the job, and the containers that wait in it. `onClosed`: it was let go. */
export function createJobSandbox(
  parts: ExecutorParts,
  job: JobContext,
  { slot, waiting, images }: WarmSlot,
  onClosed: () => void,
): AdoptedJob {
  const running = new Set<string>();
  const steps = new Set<string>();
  const files = createFilesOwner(parts, slot, { step: () => steps.size > 0, stepOrService: () => running.size > 0 });
  const nested = createNestedEngine(parts, job, slot);
  // Aborted when the job was disposed of or let go.
  const closed = new AbortController();
  setMaxListeners(0, closed.signal);
  const openings = new Set<Promise<unknown>>();
  /** They mount what is removed next. */
  const measurements = new Set<Promise<unknown>>();
  const services = new Set<{ ended: Promise<unknown>; cancelled: AbortSignal }>();
  // Aborted when what is left of their output is wanted no more.
  const enough = new AbortController();
  setMaxListeners(0, enough.signal);
  let disposal: Promise<void> | undefined;
  // A step that was started saw the files: what it made of them is not to be covered by the ones it began with.
  let shown = readStarted(job.folder).some((one) => !('service' in one)) ? Promise.resolve() : undefined;
  recordSlot(slot, job.owner);

  async function start(task: Task, output: Output, options: StartOptions): Promise<Exit> {
    checkOpen();
    let step: WaitingStep;
    try {
      step = await takeStep(task, AbortSignal.any([options.signal, closed.signal]));
    } catch (error) {
      if (options.signal.aborted) return CANCELLED;
      throw error;
    }
    const { containerId, number, nonce } = step;
    const digest = parts.images.seen(step.needs.image)?.digest;
    const image = digest === undefined ? {} : { image: digest };
    recordStarted(job.folder, { task: task.id, containerId, number, nonce, ...image });
    parts.starts.stepBegins();
    handOver(slot, step, task.docker ? withNestedHost(task) : task);
    return follow({ ...step, ...image, folder: stepFolder(slot, number) }, output, options);
  }

  function expect(tasks: UpcomingTask[]): void {
    const coming = tasks.filter((task) => !task.docker || job.trusted);
    // Whoever starts a step that needs it hears of a failure.
    if (coming.some((task) => task.docker)) nested.ready().catch(() => undefined);
    waiting.expect(coming);
  }

  /** A container for the task, which sees the job's files as its user's. */
  async function takeStep(task: Task, stop: AbortSignal): Promise<WaitingStep> {
    stop.throwIfAborted();
    if (task.docker) await unlessAborted(nested.ready(), stop);
    const taking = waiting.take(task);
    const ready = Promise.all([taking, workspaceReady()]).then(async ([step]) => {
      stop.throwIfAborted();
      await files.giveTo(step.containerId, step.needs.image);
      return step;
    });
    try {
      return await unlessAborted(ready, stop);
    } catch (error) {
      void taking.then(letGo).catch(() => undefined); // Not awaited: it may wait for a pull of its image.
      throw error;
    }
  }

  async function workspaceReady(): Promise<void> {
    await job.ready;
    shown ??= showFiles(parts, job, slot);
    await shown;
  }

  async function resume(taskId: string, output: Output, options: StartOptions): Promise<Exit> {
    checkOpen();
    const started = readStarted(job.folder).findLast((candidate) => candidate.task === taskId);
    if (!started) throw new ImpGemError('task-unknown', `No task ${taskId} of this job was started`);
    if ('service' in started) return resumeService(started.containerId, output, options);
    const folder = stepFolder(slot, started.number);
    const log = slot.volumes ? {} : { log: await openLog(folder) };
    const end = parts.events.watch(started.containerId);
    void parts.events.look(started.containerId);
    return follow({ ...started, ...log, folder, end }, output, options);
  }

  async function startService(service: ServiceTask, output: Output, options: StartOptions): Promise<Service> {
    const stop = AbortSignal.any([options.signal, closed.signal]);
    stop.throwIfAborted();
    const image = service.image ?? job.image;
    const filled = service.run === undefined ? undefined : workspaceReady();
    await unlessAborted(Promise.all([images.ensure(image), filled]), stop);
    const started = await openTracked(service, image, output, options);
    const { containerId, ended } = started;
    recordStarted(job.folder, { task: `service-${service.name}`, containerId, service: true });
    // Whoever waits for its end hears of a failure.
    ended.finally(() => running.delete(containerId)).catch(() => undefined);
    try {
      stop.throwIfAborted();
      await untilReady(parts, slot, service, started, { signal: stop });
    } catch (error) {
      await stopContainer(parts, containerId);
      await waitForRest(ended, options.signal);
      throw error;
    }
    return { ended };
  }

  /** `dispose` waits for it: what starts then is among what it stops. */
  function openTracked(
    service: ServiceTask,
    image: string,
    output: Output,
    { signal }: StartOptions,
  ): Promise<StartedService> {
    const asOperatorSays = service.run !== undefined && parts.options.runAs !== undefined;
    const beforeStart = async (id: string): Promise<void> => {
      if (asOperatorSays) await files.giveTo(id, image);
    };
    const following = { beforeStart, stop: enough.signal };
    const opening = openService(parts, image, slot, service, output, following).then((started) => {
      running.add(started.containerId);
      services.add({ ended: started.ended, cancelled: signal });
      return started;
    });
    openings.add(opening);
    return opening.finally(() => openings.delete(opening));
  }

  async function resumeService(containerId: string, output: Output, { signal }: StartOptions): Promise<Exit> {
    running.add(containerId);
    const end = parts.events.watch(containerId);
    const ended = followService(parts, containerId, output, { end, stop: enough.signal });
    services.add({ ended, cancelled: signal });
    try {
      return { code: await ended, handover: NOTHING };
    } finally {
      running.delete(containerId);
    }
  }

  async function follow(step: RunningStep, output: Output, options: StartOptions): Promise<Exit> {
    const { containerId } = step;
    let over = true;
    running.add(containerId);
    steps.add(containerId);
    try {
      return await followStep(parts, step, output, options);
    } catch (error) {
      over = !livesOn(error);
      throw error;
    } finally {
      running.delete(containerId);
      steps.delete(containerId);
      if (isOpen() && over) {
        slot.containers.delete(containerId);
        void parts.removal.container(containerId, () => step.stdio?.end());
      } else step.stdio?.end();
    }
  }

  function writing(): string[] {
    return [...running, ...(slot.nestedId === undefined ? [] : [slot.nestedId])];
  }

  function checkOpen(): void {
    closed.signal.throwIfAborted();
  }

  // A function, because the compiler believes that nothing changes while a step runs.
  function isOpen(): boolean {
    return !closed.signal.aborted;
  }

  async function dispose(): Promise<void> {
    closed.abort(new ImpGemError('sandbox-closed', 'The job is over; it takes no more steps'));
    await Promise.all([waiting.drop(), nested.close(), Promise.allSettled(openings)]);
    // What runs must not write to a folder that the caller removes next.
    await Promise.all(writing().map((id) => stopContainer(parts, id)));
    await Promise.allSettled(measurements);
    // The engine keeps their output only as long as their containers.
    await Promise.all([...services].map(({ ended, cancelled }) => waitForRest(ended, cancelled)));
    enough.abort();
    // Those that are missed are found when a worker looks for what no job owns.
    if (slot.adopted) await addLateOnes(parts, slot).catch(() => undefined);
    void removeSlot(parts, slot);
    onClosed();
  }

  const sandbox: JobSandbox = {
    start,
    expect,
    startService,
    push: async () => {
      if (slot.volumes && shown) {
        await shown;
        await pushFiles(parts, slot);
      }
      files.mixed();
    },
    pull: async () => {
      if (!slot.volumes) await files.take();
      else if (shown) {
        await shown;
        await pullFiles(parts, slot, closed.signal);
      } // Else the volumes are empty yet, and all there is lies here.
    },
    diskUse: () => {
      const measurement = diskUse(parts, slot, closed.signal);
      measurements.add(measurement);
      return measurement.finally(() => measurements.delete(measurement));
    },
    kill: async () => {
      // What was let go is its next worker's.
      if (!isOpen()) return;
      await Promise.all(writing().map((id) => killContainer(parts, id, closed.signal)));
    },
    dispose: () => (disposal ??= dispose()),
    async detach() {
      closed.abort(new LostJobError('the job'));
      await Promise.all([waiting.drop(), nested.close()]);
      onClosed();
    },
  };
  return { sandbox, started: readStarted(job.folder).map(({ task }) => task), resume };
}

/**
 * What containers made ahead do not have yet: the mirror's objects, in the place of which a warm one has a folder of its
 * own; all files, where they go to volumes.
 */
async function showFiles(parts: ExecutorParts, job: JobContext, slot: Slot): Promise<void> {
  if (slot.volumes) {
    await pushFiles(parts, slot);
    if (job.objects !== undefined) await pushFolder(parts, slot, job.objects, STEP_PATHS.objects);
  } else if (job.objects !== undefined && job.objects !== slot.objects) await linkObjects(job.objects, slot.objects);
}
