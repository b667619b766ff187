/**
 * Slots made before their job is known, each with containers that wait for a script. A job claims one by moving the
 * slot's folders into its own: what a container has mounted stays the same folder under its new name.
 */
import { mkdirSync, renameSync, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { JobContext, UpcomingTask } from '../executor.ts';
import { isPinned } from './image-name.ts';
import type { Note } from './images.ts';
import type { ContainerEnd } from './engine-events.ts';
import { ownerLabels } from './labels.ts';
import type { ExecutorParts } from './parts.ts';
import { createJobImages, type JobImages } from './job-images.ts';
import { createSlot, nameHolder, newSlotId, removeSlot, type Slot } from './slot.ts';
import { createWaitingSteps, type WaitingSteps } from './waiting-steps.ts';

export interface WarmSlot {
  slot: Slot;
  waiting: WaitingSteps;
  images: JobImages;
  /** Of the containers that wait in it; absent: none does, or ever did. */
  image?: string;
  /** Where what is said of its images goes from now on; absent: to its job already. */
  tellTo?: (note: Note) => void;
  /** Aborted when the container that holds its network has ended while no job had it. */
  ended?: AbortSignal;
}

export interface ClaimedSlot extends WarmSlot {
  /** Settles when the engine, too, knows whose it is; rejects when it cannot be told: then no reaper would spare it. */
  named: Promise<void>;
}

export interface WarmSlots {
  /**
   * A slot that is the job's from now on, or undefined. Its folders are moved before this returns: whoever fills the
   * workspace must begin after.
   */
  claim(job: JobContext): ClaimedSlot | undefined;
  /** The image of a job: what is kept warm is what the last jobs, as many as there are slots, would have needed. */
  use(image: string): void;
  /** Makes what is missing: the engine answers, at first or again. */
  refill(): void;
  /** Ids of slots that wait for a job or are being made. */
  ids(): string[];
  close(): Promise<void>;
}

/**
 * A slot without containers that wait: its network, and what holds that in the operator's own image. A job of an image
 * that no slot is kept of takes it, and only its first step's container has to be made.
 */
const BARE = undefined;
/** Containers that wait in a warm slot: the first steps of a job. */
const WAITING = 3;
/** A job's short steps have pauses, in which a slot in the making would slow the next of them: so one is made beside a longer step. */
const QUIET_MS = 150;
/** Where short steps never end, the next job is not to miss its slot for ever. */
const PATIENCE_MS = 10_000;

const FIRST_STEP: UpcomingTask = { id: 'warm', shell: 'bash', network: 'default', limits: {}, docker: false };

export function createWarmSlots(parts: ExecutorParts, size: number, onError: (error: unknown) => void): WarmSlots {
  const ready: WarmSlot[] = [];
  /** Ids of those that are being worked on, which nobody may claim: their folders must stay where they are. */
  const unfinished = new Set<string>();
  let refilling: Promise<void> | undefined;
  let again = false;
  /** Images of the slots that are to be there, the most recently used first. */
  let images: string[] = [];
  /** Images that have nothing to hold a slot with, as far as was seen since a job last used them. */
  const unfit = new Set<string>();
  let closed = false;

  function plan(): void {
    again = true;
    refilling ??= makeAll()
      .catch(onError)
      .finally(() => (refilling = undefined));
  }

  /** At once, since the next push may come while the job runs; but whatever a job waits for goes first. */
  async function makeAll(): Promise<void> {
    while (again) {
      again = false;
      while (await addOne());
    }
  }

  /** One container more: for all slots the first before any gets its second. False when nothing is missing. */
  async function addOne(): Promise<boolean> {
    await parts.starts.quiet(QUIET_MS, PATIENCE_MS);
    if (isClosed()) return false;
    const stale = ready.find((warm) => !isUsable(warm) || isSurplus(warm.image));
    const missing = images.find((image) => countOf(image, imagesOf(ready)) < countOf(image, images));
    const poor = ready.find(({ image, slot }) => image !== BARE && slot.containers.size < WAITING);
    if (stale) await discard(stale);
    else if (missing !== undefined) await make(missing);
    else if (await lacksBare()) await make(BARE);
    else if (poor) {
      take(poor);
      await addWaiting(poor);
    } else return false;
    return true;
  }

  function isUsable({ waiting, ended }: WarmSlot): boolean {
    return !ended?.aborted && !waiting.lost();
  }

  function isSurplus(image: string | undefined): boolean {
    return image !== BARE && countOf(image, imagesOf(ready)) > countOf(image, images);
  }

  /** Nothing is pulled for it. */
  async function lacksBare(): Promise<boolean> {
    const { image } = parts.options;
    return images.length > 0 && countOf(BARE, imagesOf(ready)) === 0 && !unfit.has(image) && parts.images.has(image);
  }

  async function make(of: string | undefined): Promise<void> {
    const id = newSlotId();
    const image = of ?? parts.options.image;
    unfinished.add(id);
    try {
      const said = rememberNotes();
      const ofSlot = createJobImages(parts.images, said.note);
      const slot = await createSlot(parts, { id, image, images: ofSlot });
      const waiting = createWaitingSteps(parts, slot, image, ofSlot);
      const bare = { slot, waiting, images: ofSlot, tellTo: said.tellTo, ended: watchEnd(slot) };
      if (of === BARE) ready.push(bare);
      else await addWaiting({ ...bare, image });
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

  /** With its engine, or by somebody's hand: a job that claimed it then would be lost. */
  function watchEnd({ holderId, image }: Slot): AbortSignal {
    const { signal } = parts.events.watch(holderId);
    const onEnd = (): void => {
      const { code } = signal.reason as ContainerEnd;
      // The next would end as well, and the one after it.
      if (code === 126 || code === 127) {
        unfit.add(image);
        images = images.filter((one) => one !== image);
      }
      plan();
    };
    signal.addEventListener('abort', onEnd, { once: true });
    void parts.events.look(holderId);
    return signal;
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
      // Of another image never, not even for its network: programs of a stranger's image run in its containers.
      const fits = (image: string | undefined) => ready.find((one) => one.image === image && isUsable(one));
      const warm = fits(job.image) ?? fits(BARE);
      if (!warm || !moveFolders(warm.slot, job)) return undefined;
      take(warm);
      const { slot } = warm;
      // For what is made from now on: the engine adds no label to what waits already.
      slot.labels = { ...slot.labels, ...ownerLabels(job.owner) };
      warm.tellTo?.(job.note);
      // What waits is of the job's image, and says so in its log, also where nothing waits yet.
      if (warm.image === BARE) warm.waiting = createWaitingSteps(parts, slot, job.image, warm.images);
      return { ...warm, named: nameHolder(parts, slot, job.owner) };
    },
    use(image) {
      // What a tag means is asked at each job then; what was made before it may be of yesterday's image.
      if (parts.options.pullPolicy === 'always' && !isPinned(image)) return;
      unfit.delete(image);
      images = images.length === 0 ? Array.from({ length: size }, () => image) : [image, ...images].slice(0, size);
      plan();
    },
    refill: plan,
    ids: () => [...unfinished, ...ready.map((warm) => warm.slot.id)],
    async close() {
      closed = true;
      // What is being made may take its time.
      await Promise.all([...ready].map(discard));
      await refilling;
      await Promise.all([...ready].map(discard));
    },
  };
}

function imagesOf(slots: WarmSlot[]): (string | undefined)[] {
  return slots.map(({ image }) => image);
}

function countOf(image: string | undefined, images: (string | undefined)[]): number {
  return images.filter((other) => other === image).length;
}

/** A job's log says which image it ran in, whenever the containers were made. */
function rememberNotes(): { note: Note; tellTo: NonNullable<WarmSlot['tellTo']> } {
  const lines: string[] = [];
  let note: Note = (line) => void lines.push(line);
  return {
    note: (line) => note(line),
    tellTo(to) {
      note = to;
      for (const line of lines) to(line);
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
