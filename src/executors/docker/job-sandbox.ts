import { ImpGemError } from '../../errors.ts';
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
import type { ExecutorParts } from './parts.ts';
import { createFilesOwner } from './files-owner.ts';
import { linkObjects } from './link-objects.ts';
import { createNestedEngine } from './nested-engine.ts';
import { withNestedHost } from './nested-socket.ts';
import { followStep, type RunningStep, stopContainer } from './run-step.ts';
import { removeSlot, type Slot } from './slot.ts';
import { followService, openService, untilReady } from './services.ts';
import { pullFiles, pushFiles, pushFolder } from './volumes.ts';
import { readStarted, recordSlot, recordStarted } from './slot-record.ts';
import { handOver, letGo, stepFolder, type WaitingStep } from './step-container.ts';
import { openLog } from './step-folder.ts';
import type { WarmSlot } from './warm-slots.ts';

const NOTHING: Handover = { env: '', output: '', path: '', summary: '' };
const CANCELLED: Exit = { code: 143, reason: 'cancelled', handover: NOTHING };

/** The JobSandbox over a slot that belongs to the job, and the containers that wait in it. `onClosed`: it was let go. */
export function createJobSandbox(
  parts: ExecutorParts,
  job: JobContext,
  { slot, waiting }: WarmSlot,
  onClosed: () => void,
): AdoptedJob {
  const running = new Set<string>();
  const files = createFilesOwner(parts, slot, () => running.size > 0);
  const nested = createNestedEngine(parts, job, slot);
  let state: 'open' | 'detached' | 'disposed' = 'open';
  let disposal: Promise<void> | undefined;
  // A step that was started saw the files: what it made of them is not to be covered by the ones it began with.
  let shown = readStarted(job.folder).some((one) => !('service' in one)) ? Promise.resolve() : undefined;
  recordSlot(slot, job.owner);

  async function start(task: Task, output: Output, options: StartOptions): Promise<Exit> {
    checkOpen();
    if (options.signal.aborted) return CANCELLED;
    if (task.docker && !(await nestedReady(options.signal))) return CANCELLED;
    const step = await takeStep(task);
    const { containerId, number, nonce } = step;
    recordStarted(job.folder, { task: task.id, containerId, number, nonce });
    handOver(slot, step, task.docker ? withNestedHost(task) : task);
    return follow({ ...step, folder: stepFolder(slot, number) }, output, options);
  }

  /** False when the step was cancelled meanwhile: the engine's image may have to be pulled. */
  async function nestedReady(signal: AbortSignal): Promise<boolean> {
    const cancelled = new Promise<boolean>((resolve) =>
      signal.addEventListener('abort', () => resolve(false), { once: true }),
    );
    return Promise.race([nested.ready().then(() => true), cancelled]);
  }

  function expect(tasks: UpcomingTask[]): void {
    const coming = tasks.filter((task) => !task.docker || job.trusted);
    // Whoever starts a step that needs it hears of a failure.
    if (coming.some((task) => task.docker)) nested.ready().catch(() => undefined);
    waiting.expect(coming);
  }

  /** A container for the task, which sees the job's files as its user's. */
  async function takeStep(task: Task): Promise<WaitingStep> {
    const taking = waiting.take(task);
    try {
      const [step] = await Promise.all([taking, workspaceReady()]);
      checkOpen();
      await files.giveTo(step.containerId, step.needs.image);
      return step;
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
    if ('service' in started) return resumeService(started.containerId, output);
    const folder = stepFolder(slot, started.number);
    const log = slot.volumes ? {} : { log: await openLog(folder) };
    const end = parts.events.watch(started.containerId);
    void parts.events.look(started.containerId);
    return follow({ ...started, ...log, folder, end }, output, options);
  }

  async function startService(service: ServiceTask, output: Output, options: StartOptions): Promise<Service> {
    checkOpen();
    options.signal.throwIfAborted();
    if (service.run !== undefined) await workspaceReady();
    const started = await openService(parts, job, slot, service, output);
    const { containerId } = started;
    recordStarted(job.folder, { task: `service-${service.name}`, containerId, service: true });
    running.add(containerId);
    void started.ended.finally(() => running.delete(containerId));
    try {
      await untilReady(parts, slot, service, started, options);
    } catch (error) {
      await stopContainer(parts, containerId);
      await started.ended;
      throw error;
    }
    return { ended: started.ended };
  }

  async function resumeService(containerId: string, output: Output): Promise<Exit> {
    running.add(containerId);
    try {
      const code = await followService(parts, containerId, output, parts.events.watch(containerId));
      return { code, handover: NOTHING };
    } finally {
      running.delete(containerId);
    }
  }

  async function follow(step: RunningStep, output: Output, options: StartOptions): Promise<Exit> {
    const { containerId } = step;
    running.add(containerId);
    try {
      return await followStep(parts, step, output, options);
    } finally {
      running.delete(containerId);
      if (isOpen()) {
        slot.containers.delete(containerId);
        void parts.removal.container(containerId);
      }
    }
  }

  function checkOpen(): void {
    if (!isOpen()) throw new ImpGemError('sandbox-closed', 'The job is over; it takes no more steps');
  }

  // A function, because the compiler believes that nothing changes while a step runs.
  function isOpen(): boolean {
    return state === 'open';
  }

  async function dispose(): Promise<void> {
    state = 'disposed';
    await Promise.all([waiting.drop(), nested.close()]);
    // What runs must not write to a folder that the caller removes next.
    const writing = [...running, ...(slot.nestedId === undefined ? [] : [slot.nestedId])];
    await Promise.all(writing.map((id) => stopContainer(parts, id)));
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
        await pullFiles(parts, slot);
      } // Else the volumes are empty yet, and all there is lies here.
    },
    dispose: () => (disposal ??= dispose()),
    async detach() {
      state = 'detached';
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
