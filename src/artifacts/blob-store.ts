import { createHash, randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, readdir, rename, rm, stat, utimes, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { ImpGemError, InputError, diskError, messageOf, systemCode } from '../errors.ts';
import { ifMissing } from './if-missing.ts';

const SHA256 = /^[0-9a-f]{64}$/;
/** What is younger is left alone by a sweep: it may be about to be named by a manifest. */
const GRACE_MS = 3_600_000;
const READ = constants.O_RDONLY | constants.O_NOFOLLOW;
const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

export interface Blob {
  sha256: string;
  size: number;
}

/** Contents by their SHA-256, each stored once at `<folder>/<2 characters>/<sha256>`; whole or not at all. */
export interface BlobStore {
  /** Hashes while it copies. InputError `quota` (413) when there are more than `limit` bytes. */
  add(content: AsyncIterable<Buffer>, limit?: number): Promise<Blob>;
  /** Undefined: it is not there. The caller closes the handle. */
  open(sha256: string): Promise<FileHandle | undefined>;
  remove(sha256: string): Promise<void>;
  /** Removes what `keep` does not name and what was left half-written; gives the blobs removed. */
  sweep(keep: ReadonlySet<string>, now?: number): Promise<Blob[]>;
}

export function createBlobStore(folder: string): BlobStore {
  const half = join(folder, 'tmp');
  const place = (sha256: string) => join(folder, sha256.slice(0, 2), sha256);

  const add: BlobStore['add'] = async (content, limit = Infinity) => {
    const path = join(half, randomUUID());
    try {
      await mkdir(half, { recursive: true });
      const blob = await write(path, content, limit);
      await keep(path, blob);
      return blob;
    } catch (error) {
      await rm(path, { force: true });
      throw diskError('an artifact or cache', error);
    }
  };

  const keep = async (path: string, { sha256 }: Blob): Promise<void> => {
    const target = place(sha256);
    const now = new Date();
    try {
      // There already: made young again, so that no sweep takes it now.
      await utimes(target, now, now);
      await rm(path);
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error;
      const parent = join(folder, sha256.slice(0, 2));
      await mkdir(parent, { recursive: true });
      await rename(path, target);
      const handle = await open(parent);
      await handle.sync().finally(() => handle.close());
    }
  };

  const openBlob: BlobStore['open'] = async (sha256) => {
    if (!SHA256.test(sha256)) return undefined;
    try {
      return await ifMissing(undefined, open(place(sha256), READ));
    } catch (error) {
      throw diskError('an artifact or cache', error);
    }
  };

  const sweep: BlobStore['sweep'] = async (keep, now = Date.now()) => {
    const removed: Blob[] = [];
    for (const name of await ifMissing([], readdir(folder, { recursive: true }))) {
      const sha256 = /^[0-9a-f]{2}[/]([0-9a-f]{64})$/.exec(name)?.[1];
      if (!sha256 && !name.startsWith('tmp/')) continue;
      if (sha256 && keep.has(sha256)) continue;
      const path = join(folder, name);
      const status = await ifMissing(undefined, stat(path));
      if (!status || now - status.mtimeMs < GRACE_MS) continue;
      await rm(path, { force: true });
      if (sha256) removed.push({ sha256, size: status.size });
    }
    return removed;
  };
  return { add, open: openBlob, remove: (sha256) => rm(place(sha256), { force: true }), sweep };
}

async function write(path: string, content: AsyncIterable<Buffer>, limit: number): Promise<Blob> {
  const hash = createHash('sha256');
  let size = 0;
  const file = await open(path, CREATE, 0o640);
  try {
    for await (const block of source(content)) {
      size += block.length;
      if (size > limit)
        throw new InputError('quota', `It is larger than the ${limit} bytes that are allowed.`, { status: 413 });
      hash.update(block);
      for (let done = 0; done < block.length;) done += (await file.write(block, done)).bytesWritten;
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return { sha256: hash.digest('hex'), size };
}

/** Tells a source that fails (an upload cut off, a file that cannot be read) from a disk of ours that does. */
async function* source(content: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  try {
    yield* content;
  } catch (error) {
    if (error instanceof ImpGemError) throw error;
    throw new InputError('content-cut', `The content could not be read to its end: ${messageOf(error)}.`, {
      cause: error,
    });
  }
}
