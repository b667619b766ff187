import { type FSWatcher, watch } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

const CHUNK = 256 * 1024;
/** Should a notice of the kernel be lost (its queue is bounded), the file is looked at after this time all the same. */
const LOOK_ANYWAY_MS = 500;

export interface FollowOptions {
  handle: FileHandle;
  path: string;
  /** Gives true when it has seen the last byte it wants. Awaited: a slow reader slows only the reading. */
  sink: (bytes: Buffer) => Promise<boolean>;
  /** Called with the file's size whenever it was looked at. */
  onSize: (size: number) => void;
  /** Aborted when no more will be written: what is there is read, then following ends. */
  ended: AbortSignal;
}

/**
 * Reads a file that another process appends to, from byte 0. The file belongs to a hostile step: it may be truncated
 * (reading goes on at its new end) or grow without end (`onSize` is for a limit).
 */
export async function followFile(options: FollowOptions): Promise<void> {
  const { handle, path, sink, onSize, ended } = options;
  const bell = createBell();
  const watcher = tryWatch(path, bell.ring);
  ended.addEventListener('abort', bell.ring);
  const buffer = Buffer.allocUnsafeSlow(CHUNK);
  let offset = 0;
  try {
    for (;;) {
      const last = ended.aborted;
      const { bytesRead } = await handle.read(buffer, 0, CHUNK, offset);
      if (bytesRead > 0) {
        offset += bytesRead;
        if (await sink(Buffer.from(buffer.subarray(0, bytesRead)))) return;
        if (bytesRead < CHUNK) continue;
      }
      const { size } = await handle.stat();
      onSize(size);
      if (size < offset) offset = size;
      if (bytesRead > 0) continue;
      if (last) return;
      await bell.next();
    }
  } finally {
    watcher?.close();
    ended.removeEventListener('abort', bell.ring);
  }
}

/** Undefined when the step has removed its file already, or the kernel watches too many: then it is looked at now and then. */
function tryWatch(path: string, ring: () => void): FSWatcher | undefined {
  try {
    return watch(path, ring).on('error', ring);
  } catch {
    return undefined;
  }
}

/** Remembers one ring, so that none is missed between looking and waiting. */
function createBell(): { ring: () => void; next: () => Promise<void> } {
  let rung = false;
  let wake: () => void = () => undefined;
  return {
    ring: () => {
      rung = true;
      wake();
    },
    next: async () => {
      if (!rung) {
        const timer = new AbortController();
        await Promise.race([
          new Promise<void>((resolve) => (wake = resolve)),
          delay(LOOK_ANYWAY_MS, undefined, { signal: timer.signal, ref: false }).catch(() => undefined),
        ]);
        timer.abort();
      }
      rung = false;
    },
  };
}
