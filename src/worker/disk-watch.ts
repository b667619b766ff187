/** Looks now and then at the disk that a job takes, and ends what fills it. */
import { statfs } from 'node:fs/promises';
import { formatSize } from './step-rules.ts';
import { pause, type Stop } from './stop.ts';

/** Between two looks, where nothing else tells that one is due. */
const EVERY_MS = 10_000;
const TICK_MS = 1000;
/** An engine that is away says so by itself. */
const TELLING_FAULTS = 3;
/** A look goes through all files: it takes at most this part of the time, and more only while the disk fills. */
const SHARE = 0.05;
const SHARE_WHILE_FILLING = 0.25;
/** Part of the limit by which the disk's free space shrinks before somebody looks why. */
const NOTICEABLE = 0.125;

export interface DiskWatchOptions {
  /** Bytes that the job may take; 0: any. */
  limit: number;
  /** Bytes that it takes. */
  use: () => Promise<number>;
  /** On the disk of which the job's folder is. */
  folder: string;
  /** Called each time that it is found to take more. */
  onOver: (stop: Stop) => void;
  /** Several looks in a row failed, once; the next one is made all the same. */
  onFault: (error: unknown) => void;
}

export interface DiskWatch {
  /** Of what starts now. Aborted with a Stop when the job is found to take too much: it is to be killed. */
  signal(): AbortSignal;
  close(): void;
}

export function watchDisk(options: DiskWatchOptions): DiskWatch {
  const closed = new AbortController();
  let current = new AbortController();
  const onOver = (why: Stop): void => {
    const running = current;
    // What cleans up behind them has until the next look to make room.
    current = new AbortController();
    options.onOver(why);
    running.abort(why);
  };
  if (options.limit > 0) void watch({ ...options, onOver }, closed.signal);
  return { signal: () => current.signal, close: () => closed.abort() };
}

async function watch({ limit, use, folder, onOver, onFault }: DiskWatchOptions, closed: AbortSignal): Promise<void> {
  let lookedAt = performance.now();
  let cost = 0;
  let free = await freeOf(folder);
  let faults = 0;
  while (await pause(TICK_MS, closed)) {
    const since = performance.now() - lookedAt;
    const isFilling = free - (await freeOf(folder)) > limit * NOTICEABLE;
    if (since < (isFilling ? cost / SHARE_WHILE_FILLING : Math.max(EVERY_MS, cost / SHARE))) continue;
    const began = performance.now();
    try {
      const bytes = await use();
      if (closed.aborted) return;
      faults = 0;
      if (bytes > limit) onOver({ state: 'failed', reason: `disk limit of ${formatSize(limit)} reached` });
    } catch (error) {
      if (closed.aborted) return;
      faults += 1;
      if (faults === TELLING_FAULTS) onFault(error);
    }
    lookedAt = performance.now();
    cost = lookedAt - began;
    free = await freeOf(folder);
  }
}

/** Bytes; the same each time where it cannot be told. */
async function freeOf(folder: string): Promise<number> {
  const found = await statfs(folder).catch(() => undefined);
  return found === undefined ? 0 : found.bavail * found.bsize;
}
