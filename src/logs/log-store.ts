import { copyFile, link, mkdir, readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { diskError, systemCode } from '../errors.ts';
import type { LogKey } from '../runs/run.ts';
import type { LogWriter } from '../worker/ports.ts';
import { isEndMark, lastMarkWhere, readMarks, type LogMark } from './line-index.ts';
import { compareLogKeys, logPath, parseLogKey, runFolder } from './log-key.ts';
import { findLine, readBlocks, totalLines, withLog } from './log-reader.ts';
import { createLogWriters } from './log-writers.ts';

/** Lines [first, first + count) of a log and the bytes [from, to) that hold them, with their line breaks. */
export interface LineRange {
  first: number;
  count: number;
  from: number;
  to: number;
}

/**
 * Logs as files that only grow, at `<folder>/<run>/<job>/<attempt>/<part>.log` (job `-` is the run's own log). Any
 * number of processes may read; a reader follows the length, and no writer ever waits for it. Every method throws
 * InputError `log-key` for a key that is no plain name, InfrastructureError `disk-full` or `disk-error` when the disk fails.
 */
export interface LogStore extends LogWriter {
  /** Undefined: there is no such log yet. */
  stat(key: LogKey): Promise<{ length: number; closed: boolean } | undefined>;
  /** Bytes [from, to) as far as they exist now, in blocks of `chunk` bytes at most; nothing when there is no log. */
  read(key: LogKey, from: number, to?: number, chunk?: number): AsyncIterable<Buffer>;
  /** All logs of a run, every attempt: by job, attempt, part (steps in order, then `job` and services). */
  list(run: string): Promise<LogKey[]>;
  /** Where lines [fromLine, fromLine + count) stand, lines counted from 0; what does not exist yet is left out. */
  lines(key: LogKey, fromLine: number, count: number): Promise<LineRange>;
  /** Lines there are, one without its line break at the end included. */
  countLines(key: LogKey): Promise<number>;
  /** When the bytes [from, to) came: the last mark at or before `from`, then those up to `to`. */
  marks(key: LogKey, from: number, to: number): Promise<LogMark[]>;
  /** Lists the logs of these jobs of one run under another as well (a re-run that keeps jobs); the bytes are shared. */
  inherit(from: string, to: string, jobs: readonly string[]): Promise<void>;
  /** Every run that has logs. */
  runs(): Promise<string[]>;
  /** Removes all logs of a run. */
  remove(run: string): Promise<void>;
  /** Lets go of the open files (at shutdown); nothing is lost without it. */
  dispose(): Promise<void>;
}

export function createLogStore(folder: string): LogStore {
  const writers = createLogWriters();

  const stat: LogStore['stat'] = (key) =>
    withLog(logPath(folder, key), undefined, async ({ length, index, marks }) => {
      const [last] = index ? await readMarks(index, Math.max(0, marks - 1), marks) : [];
      return { length, closed: isEndMark(last, length) };
    });

  return {
    stat,
    length: async (key) => (await stat(key))?.length ?? 0,
    append: (key, offset, bytes) => writers.use(logPath(folder, key), (log) => log.append(offset, bytes)),
    close: async (key) => {
      const path = logPath(folder, key);
      await writers.use(path, (log) => log.finish());
      await writers.forget(path);
    },
    read: (key, from, to = Infinity, chunk = 256 * 1024) => readBlocks(logPath(folder, key), from, to, chunk),
    list: (run) => listLogs(folder, run),
    lines: (key, fromLine, count) => {
      const first = Math.max(0, fromLine);
      const none = { first, count: 0, from: 0, to: 0 };
      return withLog(logPath(folder, key), none, async (log) => {
        const from = await findLine(log, first);
        const to = await findLine(log, first + Math.max(0, count));
        const last = to.found ? first + count : await totalLines(log);
        return { first, count: Math.max(0, last - first), from: from.offset, to: to.offset };
      });
    },
    countLines: (key) => withLog(logPath(folder, key), 0, totalLines),
    marks: (key, from, to) =>
      withLog(logPath(folder, key), [], async ({ index, marks }) => {
        if (!index) return [];
        const first = await lastMarkWhere(index, marks, (mark) => mark.offset <= from);
        const last = await lastMarkWhere(index, marks, (mark) => mark.offset < to);
        return (await readMarks(index, Math.max(0, first), last + 1)).filter((mark) => mark.time > 0);
      }),
    inherit: (from, to, jobs) => inheritLogs(folder, from, to, jobs),
    runs: () => namesIn(folder),
    remove: async (run) => {
      const path = runFolder(folder, run);
      await writers.forget(path);
      await rm(path, { recursive: true, force: true });
    },
    dispose: () => writers.forget(folder),
  };
}

async function namesIn(folder: string, recursive = false): Promise<string[]> {
  return readdir(folder, { recursive }).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw diskError('the logs', error);
  });
}

/** By hard links: a log that is over does not change any more. */
async function inheritLogs(folder: string, from: string, to: string, jobs: readonly string[]): Promise<void> {
  const [source, target] = [runFolder(folder, from), runFolder(folder, to)];
  try {
    for (const name of await namesIn(source, true)) {
      const [job = '', , file] = name.split('/');
      if (file === undefined || !jobs.includes(job)) continue;
      const place = join(target, name);
      await mkdir(dirname(place), { recursive: true });
      await link(join(source, name), place).catch(async (error: unknown) => {
        // A file system without hard links.
        if (systemCode(error) !== 'EEXIST') await copyFile(join(source, name), place);
      });
    }
  } catch (error) {
    throw diskError('the logs', error);
  }
}

async function listLogs(folder: string, run: string): Promise<LogKey[]> {
  const entries = await namesIn(runFolder(folder, run), true);
  return entries
    .map((path) => /^([^/]+)[/]([^/]+)[/]([^/]+)[.]log$/.exec(path))
    .filter((match) => match !== null)
    .map(([, job = '', attempt = '', part = '']) => parseLogKey({ run, job, attempt, part }))
    .sort(compareLogKeys);
}
