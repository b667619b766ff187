/**
 * Slots made before their job is known, each with containers that wait for a script. A job claims one by moving the
 * slot's folders into its own: what a container has mounted stays the same folder under its new name.
 */
import { mkdirSync, renameSync, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { JobContext, UpcomingTask } from '../executor.ts';
import type { Note } from './images.ts';
import { holderName } from './labels.ts';
import type { ExecutorParts } from './parts.ts';
import { isRunning } from './engine-loss.ts';
import { createSlot, newSlotId, removeSlot, type Slot } from './slot.ts';
import { createWaitingSteps, type WaitingSteps } from './waiting-steps.ts';

export interface WarmSlot {
  slot: Slot;
  waiting: WaitingSteps;
  /** Where what is said of its images goes from now on; absent: to its job already. */
  tellTo?: (job: Pick<JobContext, 'image' | 'note'>) => void;
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
/** The starts of a job's short steps have pauses, in which a slot in the making would slow the next of them. */
const QUIET_MS = 150;

const FIRST_STEP: UpcomingTask = { id: 'warm', shell: 'bash', network: 'default', limits: {}, docker: false };

export function createWarmSlots(parts: ExecutorParts, size: number, onError: (error: unknown) => void): WarmSlots {
  const ready: WarmSlot[] = [];
  /** Ids of those that are being worked on, which nobody may claim: their folders must stay where they are. */
  const unfinished = new Set<string>();
  let refilling: Promise<void> | undefined;
  let again = false;
  let image: string | undefined;
  let closed = false;

  function plan(): void {
    again = true;
    refilling ??= refill()
      .catch(onError)
      .finally(() => (refilling = undefined));
  }

  /** At once, since the next push may come while the job runs; but whatever a job waits for goes first. */
  async function refill(): Promise<void> {
    while (again) {
      again = false;
      while (await addOne());
    }
  }

  /** One container more: for all slots the first before any gets its second. False when nothing is missing. */
  async function addOne(): Promise<boolean> {
    await parts.starts.quiet(QUIET_MS);
    if (isClosed() || size === 0 || image === undefined) return false;
    const wanted = image;
    const stale = ready.find(({ slot }) => slot.image !== wanted);
    const poor = ready.find(({ slot }) => slot.containers.size < WAITING);
    if (stale) await discard(stale);
    else if (ready.length < size) await make(wanted);
    else if (poor) {
      take(poor);
      await addWaiting(poor);
    } else return false;
    return true;
  }

  async function make(of: string): Promise<void> {
    const id = newSlotId();
    unfinished.add(id);
    try {
      const slot = await createSlot(parts, { id, image: of });
      const said = rememberNotes(of);
      const waiting = createWaitingSteps(parts, slot, of, said.note);
      await addWaiting({ slot, waiting, tellTo: said.tellTo });
    } finally {
      unfinished.delete(id);
    }
  }

  /** For a slot that is not in `ready` meanwhile. */
  async function addWaiting(warm: WarmSlot): Promise<void> {
    const { slot, waiting } = warm;
    unfinished.add(slot.id);
    try {
      waiting.expect(Array.from({ length: slot.containers.size + 1 }, () => FIRST_STEP));
      await waiting.settled();
      ready.push(warm);
    } catch (error) {
      await release(warm);
      throw error;
    } finally {
      unfinished.delete(slot.id);
    }
  }

  async function discard(warm: WarmSlot): Promise<void> {
    if (take(warm)) await release(warm);
  }

  function take(warm: WarmSlot): boolean {
    const at = ready.indexOf(warm);
    if (at >= 0) ready.splice(at, 1);
    return at >= 0;
  }

  async function release({ slot, waiting }: WarmSlot): Promise<void> {
    await waiting.drop();
    void removeSlot(parts, slot);
    await rm(slot.folder, { recursive: true, force: true });
  }

  // A function, because the compiler believes that nothing changes while this waits.
  function isClosed(): boolean {
    return closed;
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
      warm.tellTo?.(job);
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
      await refilling;
      for (const warm of [...ready]) await discard(warm);
    },
  };
}

/** A job's log says which image it ran in, whenever the containers were made. */
function rememberNotes(image: string): { note: Note; tellTo: NonNullable<WarmSlot['tellTo']> } {
  const lines: string[] = [];
  let note: Note = (line) => void lines.push(line);
  return {
    note: (line) => note(line),
    tellTo(job) {
      note = job.note;
      if (job.image === image) for (const line of lines) job.note(line);
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
