import { ImpGemError } from '../../errors.ts';
import type { Exit, JobContext, JobSandbox, Output, StartOptions, Task } from '../executor.ts';
import type { ExecutorParts } from './parts.ts';
import { followStep, stopContainer } from './run-step.ts';
import { removeSlot, type Slot } from './slot.ts';
import { recordStarted } from './started-tasks.ts';
import { handOver, stepFolder } from './step-container.ts';
import { createWaitingSteps } from './waiting-steps.ts';

const CANCELLED: Exit = {
  code: 143,
  reason: 'cancelled',
  handover: { env: '', output: '', path: '', summary: '' },
};

/** The JobSandbox over a slot that belongs to the job. */
export function createJobSandbox(parts: ExecutorParts, job: JobContext, slot: Slot): JobSandbox {
  const waiting = createWaitingSteps(parts, slot, job.image);
  const running = new Set<string>();
  let state: 'open' | 'detached' | 'disposed' = 'open';
  let disposal: Promise<void> | undefined;

  async function start(task: Task, output: Output, options: StartOptions): Promise<Exit> {
    if (state !== 'open') throw new ImpGemError('sandbox-closed', 'The job is over; it takes no more steps');
    if (options.signal.aborted) return CANCELLED;
    const taken = waiting.take(task);
    await job.ready;
    const step = await taken;
    const { containerId, number, nonce, log } = step;
    running.add(containerId);
    try {
      recordStarted(job.folder, { task: task.id, containerId, number, nonce });
      handOver(step, task);
      return await followStep(parts, { containerId, nonce, log, folder: stepFolder(slot, number) }, output, options);
    } finally {
      running.delete(containerId);
      if (isOpen()) {
        slot.containers.delete(containerId);
        void parts.removal.container(containerId);
      }
    }
  }

  // A function, because the compiler believes that nothing changes while a step runs.
  function isOpen(): boolean {
    return state === 'open';
  }

  async function dispose(): Promise<void> {
    state = 'disposed';
    await waiting.drop();
    // What runs must not write to a folder that the caller removes next.
    await Promise.all([...running].map((id) => stopContainer(parts, id)));
    void removeSlot(parts, slot);
  }

  return {
    start,
    expect: (tasks) => waiting.expect(tasks),
    startService: () => Promise.reject(new ImpGemError('service-failed', 'Services are not supported yet')),
    push: () => Promise.resolve(),
    pull: () => Promise.resolve(),
    dispose: () => (disposal ??= dispose()),
    async detach() {
      state = 'detached';
      await waiting.drop();
    },
  };
}
