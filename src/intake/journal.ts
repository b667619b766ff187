/**
 * Deliveries that came while Redis was away, on disk and in order. A line and the name of its file are on disk (fsync)
 * before its delivery is answered; many that come at once share one fsync. What a dead server left is taken over, by whoever sees it first.
 */
import { createHash, randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, readFile, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { InfrastructureError, messageOf } from '../errors.ts';
import { processStart } from '../process-start.ts';

export interface Journal<Entry> {
  /** Entries not yet replayed. */
  pending(): number;
  /** Durable when it settles. Throws InfrastructureError `journal-full` or `journal-disk` (retryable). */
  append(entry: Entry): Promise<void>;
  /**
   * Hands every entry to `take`, oldest first, some at once: one after the other would be slower than they come. Stops
   * when one throws, and hands those that were under way over again the next time.
   */
  replay(take: (entry: Entry) => Promise<void>): Promise<void>;
  /** Takes over what dead servers left; gives how many entries. Done at the start and every few seconds. */
  adopt(): Promise<number>;
  close(): Promise<void>;
}

export interface JournalOptions<Entry> {
  folder: string;
  /** What is no entry is left out: in a file that somebody edited, say. Default: whatever is JSON is one. */
  isEntry?: (value: unknown) => value is Entry;
  /** Bytes on disk, at most. */
  maxBytes: number;
  /** Hears why what a dead server left cannot be taken over; it is tried again. */
  onError?: (message: string) => void;
}

/** Handed over at once, in their order. */
const BATCH = 64;
const BEAT_MS = 10_000;
/** The file of a server elsewhere, which we cannot ask, is touched every BEAT_MS while it lives. */
const SILENT_MS = 60_000;
/** Time first: what a server took over stands before what came to it later. */
const NAME = /^[0-9a-z]{8}-[0-9a-f]{8}-([0-9a-f]{8})-(\d+)-([0-9a-z]+)\.jsonl$/;
const host = createHash('sha256').update(hostname()).digest('hex').slice(0, 8);

interface Waiting<Entry> {
  line: string;
  entry: Entry;
  done: () => void;
  failed: (error: unknown) => void;
}

export async function openJournal<Entry>({
  folder,
  isEntry = (value): value is Entry => value !== undefined,
  maxBytes,
  onError,
}: JournalOptions<Entry>): Promise<Journal<Entry>> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  let own = '';
  /** Files of ours that exist. */
  const files = new Set<string>();
  // In memory as well: a bounded number of small events, so that replay reads no file.
  const entries: Entry[] = [];
  let bytes = 0;
  let handle: FileHandle | undefined;
  /** The file's name in the folder outlasts a loss of power. */
  let named = false;
  /** The last write failed and left something, half a line maybe. */
  let torn = false;
  let waiting: Waiting<Entry>[] = [];
  let replaying: Promise<void> | undefined;

  // One thing at a time happens to the files: nothing is written or read while they go.
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const turn = last.then(work);
    last = turn.catch(() => undefined);
    return turn;
  };

  const flush = async (): Promise<void> => {
    const batch = waiting;
    waiting = [];
    if (batch.length === 0) return;
    let before: number | undefined;
    try {
      handle ??= await open(own, 'a', 0o600);
      files.add(own);
      before = (await handle.stat()).size;
      await handle.writeFile((torn ? '\n' : '') + batch.map((one) => one.line).join(''));
      torn = false;
      await handle.sync();
      if (!named) await syncFolder(folder);
      named = true;
      for (const one of batch) {
        entries.push(one.entry);
        one.done();
      }
    } catch (error) {
      // What it left takes room that others need.
      torn = before !== undefined && !(await undo(handle, before));
      const failure = new InfrastructureError('journal-disk', `The journal cannot be written: ${messageOf(error)}`, {
        cause: error,
        retryable: true,
      });
      for (const one of batch) {
        if (!torn) bytes -= Buffer.byteLength(one.line);
        one.failed(failure);
      }
    }
  };

  const forget = async (): Promise<void> => {
    if (entries.length > 0 || waiting.length > 0) return;
    await handle?.close();
    handle = undefined;
    named = false;
    for (const file of files) await rm(file, { force: true });
    files.clear();
    bytes = 0;
    torn = false;
  };

  const adopt = async (): Promise<number> => {
    let count = 0;
    for (const name of (await readdir(folder)).sort()) {
      if (!(await isLeft(folder, name))) continue;
      const file = join(folder, newName());
      // Whose renaming succeeds has it.
      if (!(await rename(join(folder, name), file).then(() => true, isGone))) continue;
      try {
        const text = await readFile(file, 'utf8');
        for (const line of text.split('\n')) {
          const entry = parseLine(line);
          if (!isEntry(entry)) continue;
          entries.push(entry);
          count++;
        }
        bytes += Buffer.byteLength(text);
        // Not before: what is in no memory must not go.
        files.add(file);
      } catch (error) {
        await rename(file, join(folder, name)).catch(() => undefined);
        onError?.(`journal: what a server that is gone has left cannot be read: ${messageOf(error)}`);
      }
    }
    return count;
  };
  const adoptInTurn = (): Promise<number> => inTurn(adopt);

  await adoptInTurn();
  own = join(folder, newName());
  const beat = setInterval(() => {
    const now = new Date();
    // Lost beats harm nobody: what is taken over twice is dropped as a duplicate.
    for (const file of files) utimes(file, now, now).catch(() => undefined);
    adoptInTurn().catch((error: unknown) => onError?.(`journal: ${messageOf(error)}`));
  }, BEAT_MS).unref();

  return {
    pending: () => entries.length + waiting.length,
    append(entry) {
      const line = `${JSON.stringify(entry)}\n`;
      const size = Buffer.byteLength(line);
      if (bytes + size > maxBytes)
        return Promise.reject(
          new InfrastructureError(
            'journal-full',
            'Redis is away and the journal is full; send the delivery again later',
            { retryable: true },
          ),
        );
      bytes += size;
      return new Promise((done, failed) => {
        waiting.push({ line, entry, done, failed });
        if (waiting.length === 1) void inTurn(flush);
      });
    },
    replay(take) {
      const run = async (): Promise<void> => {
        while (entries.length > 0) {
          const batch = entries.slice(0, BATCH);
          await Promise.all(batch.map(take));
          entries.splice(0, batch.length);
        }
        await inTurn(forget);
      };
      replaying ??= run().finally(() => (replaying = undefined));
      return replaying;
    },
    adopt: adoptInTurn,
    async close() {
      clearInterval(beat);
      await inTurn(forget);
      await handle?.close();
      handle = undefined;
    },
  };
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder);
  await handle.sync().finally(() => handle.close());
}

/** Whether the file is what it was before a write that failed. */
function undo(handle: FileHandle | undefined, size: number): Promise<boolean> {
  return handle === undefined
    ? Promise.resolve(true)
    : handle.truncate(size).then(
        () => true,
        () => false,
      );
}

let lastName = 0;

function newName(): string {
  lastName = Math.max(Date.now(), lastName + 1);
  const time = lastName.toString(36).padStart(8, '0');
  return `${time}-${randomBytes(4).toString('hex')}-${host}-${process.pid}-${processStart(process.pid)}.jsonl`;
}

/** A line that was torn by a crash or a full disk was never answered. */
function parseLine(line: string): unknown {
  try {
    return line === '' ? undefined : JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** Whether a file is a journal whose server is gone. */
async function isLeft(folder: string, name: string): Promise<boolean> {
  const [, where, pid, start] = NAME.exec(name) ?? [];
  if (where === undefined) return false;
  if (where === host) return processStart(Number(pid)) !== start;
  const found = await stat(join(folder, name)).catch(() => undefined);
  return found !== undefined && Date.now() - found.mtimeMs > SILENT_MS;
}

function isGone(error: unknown): false {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
  throw error;
}
