import { fstatSync, type FSWatcher, readSync, watch } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';

const CHUNK = 256 * 1024;
/** What was written a moment ago is in memory: a little of it is there sooner than a thread that would fetch it. */
const LITTLE = 16 * 1024;
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
  const anyway = setInterval(bell.ring, LOOK_ANYWAY_MS).unref();
  const buffer = Buffer.allocUnsafeSlow(CHUNK);
  let offset = 0;
  try {
    for (;;) {
      const last = ended.aborted;
      const { size } = fstatSync(handle.fd);
      onSize(size);
      if (size < offset) offset = size;
      const bytesRead =
        size - offset <= LITTLE
          ? readSync(handle.fd, buffer, 0, LITTLE, offset)
          : (await handle.read(buffer, 0, CHUNK, offset)).bytesRead;
      offset += bytesRead;
      if (bytesRead > 0 && (await sink(Buffer.from(buffer.subarray(0, bytesRead))))) return;
      if (offset < size) continue;
      if (last) return;
      // What comes after the look at its size rings.
      await bell.next();
    }
  } finally {
    watcher?.close();
    clearInterval(anyway);
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
      if (!rung) await new Promise<void>((resolve) => (wake = resolve));
      rung = false;
    },
  };
}
