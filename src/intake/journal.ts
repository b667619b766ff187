/**
 * Deliveries that came while Redis was away, on disk and in order. A line is on disk (fsync) before its delivery is
 * answered; many that come at once share one fsync. What a dead server left is taken over at the next start.
 */
import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { InfrastructureError, messageOf } from '../errors.ts';

export interface Journal<Entry> {
  /** Entries not yet replayed. */
  pending(): number;
  /** Durable when it settles. Throws InfrastructureError `journal-full` (retryable). */
  append(entry: Entry): Promise<void>;
  /** Hands every entry to `take`, oldest first; stops at the first that throws, and goes on there the next time. */
  replay(take: (entry: Entry) => Promise<void>): Promise<void>;
  close(): Promise<void>;
}

export interface JournalOptions {
  folder: string;
  /** Bytes on disk, at most. */
  maxBytes: number;
}

const NAME = /^(\d+)-[0-9a-f]+\.jsonl$/;

export async function openJournal<Entry>({ folder, maxBytes }: JournalOptions): Promise<Journal<Entry>> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, `${process.pid}-${randomBytes(4).toString('hex')}.jsonl`);
  // In memory as well: a bounded number of small events, so that replay reads no file.
  const entries: Entry[] = [];
  let bytes = 0;
  let handle: FileHandle | undefined;
  let waiting: { line: string; entry: Entry; done: () => void; failed: (error: unknown) => void }[] = [];
  let flushing: Promise<void> | undefined;
  let replaying: Promise<void> | undefined;

  const flush = async (): Promise<void> => {
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      try {
        handle ??= await open(file, 'a', 0o600);
        await handle.writeFile(batch.map((one) => one.line).join(''));
        await handle.sync();
        for (const one of batch) {
          entries.push(one.entry);
          one.done();
        }
      } catch (error) {
        const failure = new InfrastructureError('journal-disk', `The journal cannot be written: ${messageOf(error)}`, {
          cause: error,
          retryable: true,
        });
        for (const one of batch) one.failed(failure);
      }
    }
  };

  const forget = async (): Promise<void> => {
    await handle?.close();
    handle = undefined;
    bytes = 0;
    await rm(file, { force: true });
  };

  for (const line of await takeOver(folder, file)) {
    entries.push(JSON.parse(line) as Entry);
    bytes += line.length + 1;
  }

  return {
    pending: () => entries.length + waiting.length,
    append(entry) {
      const line = `${JSON.stringify(entry)}\n`;
      if (bytes + line.length > maxBytes)
        return Promise.reject(
          new InfrastructureError(
            'journal-full',
            'Redis is away and the journal is full; send the delivery again later',
            { retryable: true },
          ),
        );
      bytes += line.length;
      return new Promise((done, failed) => {
        waiting.push({ line, entry, done, failed });
        flushing ??= flush().finally(() => (flushing = undefined));
      });
    },
    replay(take) {
      const run = async (): Promise<void> => {
        for (let first = entries[0]; first !== undefined; first = entries[0]) {
          await take(first);
          entries.shift();
        }
        // Nothing may be half-written while the file goes.
        if (waiting.length === 0 && flushing === undefined) await forget();
      };
      replaying ??= run().finally(() => (replaying = undefined));
      return replaying;
    },
    async close() {
      await flushing;
      await handle?.close();
    },
  };
}

/** Lines of the files of servers that are gone, now in a file of ours. A torn last line was never answered. */
async function takeOver(folder: string, file: string): Promise<string[]> {
  const left = (await readdir(folder)).sort().filter((name) => {
    const pid = NAME.exec(name)?.[1];
    return pid !== undefined && !isAlive(Number(pid));
  });
  const texts = await Promise.all(left.map((name) => readFile(join(folder, name), 'utf8')));
  const lines = texts.flatMap((text) => text.split('\n').slice(0, -1));
  if (lines.length > 0) await writeFile(file, `${lines.join('\n')}\n`, { mode: 0o600, flush: true });
  for (const name of left) await rm(join(folder, name), { force: true });
  return lines;
}

function isAlive(pid: number): boolean {
  // In a container every server may have this same pid; a file with our own is our predecessor's.
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
