import { ImpGemError, diskError } from '../errors.ts';
import type { IndexState } from './line-index.ts';
import { openLogFile, type LogFile } from './log-file.ts';

/** Logs that are held open for writing; two files each. */
const OPEN_LOGS = 128;

interface Entry {
  file?: LogFile | undefined;
  known?: IndexState | undefined;
  /** Settles when what was asked so far is done: one thing at a time happens to a log. */
  tail: Promise<unknown>;
  waiting: number;
}

export interface LogWriters {
  /** Does `task` with the log at `path`, after what was asked of it before. */
  use(path: string, task: (file: LogFile) => Promise<void>): Promise<void>;
  /** Lets go of the log at `path`, or of all below that folder. */
  forget(path: string): Promise<void>;
}

/** The logs that are being written, the least recently used ones shut when there are too many. */
export function createLogWriters(): LogWriters {
  const entries = new Map<string, Entry>();

  const work = async (path: string, entry: Entry, task: (file: LogFile) => Promise<void>) => {
    const opens = !entry.file;
    try {
      entry.file ??= await openLogFile(path, entry.known);
      await task(entry.file);
    } catch (error) {
      // What failed half-way (a full disk) may have left more on the disk than we know: look again next time.
      if (!(error instanceof ImpGemError)) await shut(entry).finally(() => (entry.known = undefined));
      throw diskError('the log', error);
    } finally {
      entry.waiting--;
      if (opens) shutOldest();
    }
  };

  const use: LogWriters['use'] = (path, task) => {
    const entry = entries.get(path) ?? { tail: Promise.resolve(), waiting: 0 };
    // The order of the map is the order of use.
    entries.delete(path);
    entries.set(path, entry);
    entry.waiting++;
    const result = entry.tail.then(() => work(path, entry, task));
    entry.tail = result.catch(() => undefined);
    return result;
  };

  const shutOldest = () => {
    const open = [...entries.values()].filter((entry) => entry.file && entry.waiting === 0);
    for (const entry of open.slice(0, Math.max(0, open.length - OPEN_LOGS))) {
      entry.tail = entry.tail.then(() => shut(entry)).catch(() => undefined);
    }
  };

  const forget: LogWriters['forget'] = async (path) => {
    const gone = [...entries].filter(([key]) => key === path || key.startsWith(`${path}/`));
    for (const [key] of gone) entries.delete(key);
    await Promise.all(gone.map(([, entry]) => (entry.tail = entry.tail.then(() => shut(entry)))));
  };
  return { use, forget };
}

async function shut(entry: Entry): Promise<void> {
  const { file } = entry;
  entry.file = undefined;
  entry.known = await file?.release();
}
