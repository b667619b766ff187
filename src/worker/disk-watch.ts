/** Looks now and then at the disk that a job takes, and ends what fills it. */
import { InputError, LostJobError, messageOf } from '../errors.ts';
import { freeRoom } from '../free-room.ts';
import { formatSize } from './step-rules.ts';
import { pause, type Stop } from './stop.ts';

/** Between two looks, where nothing else tells that one is due. */
const EVERY_MS = 10_000;
const TICK_MS = 1000;
/** A look goes through all files: it takes this part of the time at most, more only while the disk fills. */
const SHARE = 0.05;
const SHARE_WHILE_FILLING = 0.25;
/** Between two looks at the most, however long one takes. */
const MOST_MS = 60_000;
const MOST_WHILE_FILLING_MS = 10_000;
/** Part of the limit by which the free space of the disk shrinks, or the job grows, before somebody looks sooner. */
const NOTICEABLE = 0.125;
/** An engine that is away says so by itself. */
const TELLING_FAULTS = 3;

export interface DiskWatchOptions {
  /** Bytes that the job may take; 0: any. */
  limit: number;
  /** Bytes that it takes. InputError: it keeps that from being known, and counts as too much. */
  use: () => Promise<number>;
  /** On the disk of which the job's folder is. */
  folder: string;
  /** Called each time that it is found to take more: all that runs of it is to be killed. */
  onOver: (stop: Stop) => void;
  /** Several looks in a row failed, once; the next one is made all the same. */
  onFault: (error: unknown) => void;
}

export interface DiskWatch {
  /** Of what starts now. Aborted with a Stop when the job is found to take too much. */
  signal(): AbortSignal;
  close(): void;
}

export function watchDisk(options: DiskWatchOptions): DiskWatch {
  const closed = new AbortController();
  let current = new AbortController();
  const onOver = (why: Stop): void => {
    const running = current;
    // What cleans up behind them has EVERY_MS to make room.
    current = new AbortController();
    running.abort(why);
    options.onOver(why);
  };
  if (options.limit > 0) void watch({ ...options, onOver }, closed.signal);
  return { signal: () => current.signal, close: () => closed.abort() };
}

async function watch({ limit, use, folder, onOver, onFault }: DiskWatchOptions, closed: AbortSignal): Promise<void> {
  const isMuch = (bytes: number): boolean => bytes > limit * NOTICEABLE;
  let lookedAt = performance.now();
  let cost = 0;
  let free = await freeOf(folder);
  let used: number | undefined;
  let grows = false;
  let over = false;
  let faults = 0;
  while (await pause(TICK_MS, closed)) {
    const isFilling = !over && (grows || isMuch(free - (await freeOf(folder))));
    const rest = isFilling
      ? Math.min(cost / SHARE_WHILE_FILLING, MOST_WHILE_FILLING_MS)
      : Math.min(Math.max(EVERY_MS, cost / SHARE), MOST_MS);
    if (performance.now() - lookedAt < rest) continue;
    const began = performance.now();
    try {
      const bytes = await use();
      if (closed.aborted) return;
      faults = 0;
      // The disk may be the engine's own, of which we see nothing.
      grows = used !== undefined && isMuch(bytes - used);
      used = bytes;
      over = bytes > limit;
      if (over) onOver({ state: 'failed', reason: `disk limit of ${formatSize(limit)} reached` });
    } catch (error) {
      // What is of the job is its next worker's now.
      if (closed.aborted || error instanceof LostJobError) return;
      faults += 1;
      over = error instanceof InputError;
      if (over) onOver({ state: 'failed', reason: messageOf(error) });
      else if (faults === TELLING_FAULTS) tell(onFault, error);
    }
    lookedAt = performance.now();
    cost = lookedAt - began;
    free = await freeOf(folder);
  }
}

function tell(onFault: (error: unknown) => void, error: unknown): void {
  try {
    onFault(error);
  } catch {
    // Where it is told may be on the disk that is full.
  }
}

/** Bytes; the same each time where it cannot be told. */
async function freeOf(folder: string): Promise<number> {
  const found = await freeRoom(folder).catch(() => undefined);
  return found?.bytes ?? 0;
}
