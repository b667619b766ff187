/**
 * Slots made before their job is known, each with containers that wait for a script. A job claims one by moving the
 * slot's folders into its own: what a container has mounted stays the same folder under its new name.
 */
import { mkdirSync, renameSync, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { JobContext, UpcomingTask } from '../executor.ts';
import { holderName } from './labels.ts';
import type { ExecutorParts } from './parts.ts';
import { isRunning } from './engine-loss.ts';
import { createSlot, newSlotId, removeSlot, type Slot } from './slot.ts';
import { createWaitingSteps, type WaitingSteps } from './waiting-steps.ts';

export interface WarmSlot {
  slot: Slot;
  waiting: WaitingSteps;
}

export interface WarmSlots {
  /**
   * A slot that is the job's from now on, or undefined. Its folders are moved before this returns: whoever fills the
   * workspace must begin after.
   */
  claim(job: JobContext): WarmSlot | undefined;
  /** An image that jobs use: containers of the last one are kept warm. */
  use(image: string): void;
  /** Lets go of slots whose containers died with their engine, and makes new ones. */
  check(): Promise<void>;
  /** Ids of slots that wait for a job or are being made. */
  ids(): string[];
  close(): Promise<void>;
}

/** Containers that wait in a warm slot: the first steps of a job. */
const WAITING = 3;
/** Warming up must not slow down the job that has just begun. */
const PAUSE_MS = 1500;

const FIRST_STEP: UpcomingTask = { id: 'warm', shell: 'bash', network: 'default', limits: {}, docker: false };

export function createWarmSlots(parts: ExecutorParts, size: number, onError: (error: unknown) => void): WarmSlots {
  const ready: WarmSlot[] = [];
  const unfinished = new Set<string>();
  const making = new Set<Promise<void>>();
  let image: string | undefined;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  function plan(): void {
    if (closed || size === 0 || timer || image === undefined) return;
    timer = setTimeout(() => {
      timer = undefined;
      const work = refill().catch(onError);
      making.add(work);
      void work.finally(() => making.delete(work));
    }, PAUSE_MS).unref();
  }

  async function refill(): Promise<void> {
    await parts.starts.quiet();
    // Those of an image that is no longer in use make room.
    for (const stale of ready.filter((warm) => warm.slot.image !== image).slice(0, ready.length)) await discard(stale);
    while (!closed && image !== undefined && ready.length < size) {
      const id = newSlotId();
      unfinished.add(id);
      try {
        ready.push(await make(id, image));
      } finally {
        unfinished.delete(id);
      }
    }
  }

  async function make(id: string, of: string): Promise<WarmSlot> {
    const slot = await createSlot(parts, { id, image: of });
    const waiting = createWaitingSteps(parts, slot, of, () => undefined);
    waiting.expect(Array.from({ length: WAITING }, () => FIRST_STEP));
    return { slot, waiting };
  }

  async function discard(warm: WarmSlot): Promise<void> {
    ready.splice(ready.indexOf(warm), 1);
    await warm.waiting.drop();
    void removeSlot(parts, warm.slot);
    await rm(warm.slot.folder, { recursive: true, force: true });
  }

  return {
    claim(job) {
      const at = Math.max(
        0,
        ready.findIndex((warm) => warm.slot.image === job.image),
      );
      const warm = ready[at];
      if (!warm || !moveFolders(warm.slot, job)) return undefined;
      ready.splice(at, 1);
      // So that the engine, too, knows whose it is: labels cannot be added, a name can be changed.
      parts.docker
        .getContainer(warm.slot.holderId)
        .rename({ name: holderName(job.owner) })
        .catch(onError);
      return warm;
    },
    use(used) {
      image = used;
      plan();
    },
    async check() {
      for (const warm of [...ready])
        if (!(await isRunning(parts, warm.slot.holderId)) && ready.includes(warm)) await discard(warm);
      plan();
    },
    ids: () => [...unfinished, ...ready.map((warm) => warm.slot.id)],
    async close() {
      closed = true;
      clearTimeout(timer);
      await Promise.allSettled(making);
      for (const warm of [...ready]) await discard(warm);
    },
  };
}

/** False, with nothing changed, when the folders cannot be moved: another file system, or they are not empty any more. */
function moveFolders(slot: Slot, job: JobContext): boolean {
  const from = slot.folder;
  if (slot.volumes) return claimVolumes(slot, job);
  try {
    if (job.objects !== undefined && statSync(job.objects).dev !== statSync(from).dev) return false;
    renameSync(join(from, 'home'), join(job.folder, 'home'));
  } catch {
    return false;
  }
  try {
    renameSync(join(from, 'workspace'), join(job.folder, 'workspace'));
  } catch {
    renameSync(join(job.folder, 'home'), join(from, 'home'));
    mkdirSync(join(job.folder, 'home'));
    return false;
  }
  renameSync(join(from, 'docker'), join(job.folder, 'docker'));
  slot.folder = job.folder;
  slot.objects = join(job.folder, 'docker', 'objects');
  void rm(from, { recursive: true, force: true });
  return true;
}

/** Nothing of the folder is mounted: the job's own takes its place. */
function claimVolumes(slot: Slot, job: JobContext): boolean {
  const from = slot.folder;
  mkdirSync(join(job.folder, 'docker', 'objects'), { recursive: true });
  slot.folder = job.folder;
  void rm(from, { recursive: true, force: true });
  return true;
}
