/** One log while it grows: the writer's half of the log store. */
import { constants, fstatSync } from 'node:fs';
import { mkdir, open, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ImpGemError, InputError } from '../errors.ts';
import {
  MARK_SIZE,
  SPAN,
  emptyIndex,
  encodeMarks,
  endMark,
  isEndMark,
  markBytes,
  readMarks,
  type IndexState,
  type LogMark,
} from './line-index.ts';

const FLAGS = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
const BLOCK = 1024 * 1024;

export interface LogFile {
  append(offset: number, bytes: Buffer): Promise<void>;
  /** fsync, then the end record, then fsync: a log that says it is closed is whole on the disk. */
  finish(): Promise<void>;
  /** Shuts the files; gives what is known, so that opening the log again needs no look at the text. */
  release(): Promise<IndexState>;
}

/**
 * Opens (or makes) a log to write; `path` without ending. What a crash left of the index is checked and mended, unless
 * the log is as `known` says.
 */
export async function openLogFile(path: string, known?: IndexState): Promise<LogFile> {
  await mkdir(dirname(path), { recursive: true });
  const log = await open(`${path}.log`, FLAGS, 0o640);
  const index = await open(`${path}.idx`, FLAGS, 0o640).catch(async (error: unknown) => {
    await log.close();
    throw error;
  });
  let state = known ?? emptyIndex();
  let closed = false;
  const load = async () => {
    ({ state, closed } = await loadState(log, index));
  };
  const release = async () => {
    await Promise.all([log.close(), index.close()]);
    return state;
  };
  try {
    if (!known) await load();
  } catch (error) {
    await release();
    throw error;
  }

  // Another process (the worker that had the job before, a reconciler) wrote or closed it meanwhile. The sizes are at
  // hand in the kernel: a hop to the thread pool would cost more than the call.
  const isStale = () =>
    fstatSync(log.fd).size !== state.length || (!closed && fstatSync(index.fd).size !== state.marks * MARK_SIZE);

  const append = async (offset: number, bytes: Buffer): Promise<void> => {
    if (!Number.isSafeInteger(offset) || offset < 0)
      throw new InputError('log-offset', `${offset} is no place in a log.`);
    if (isStale()) await load();
    if (offset > state.length) {
      throw new ImpGemError('log-gap', `The log has ${state.length} bytes; nothing can be stored at ${offset} yet.`);
    }
    const known = Math.min(bytes.length, state.length - offset);
    if (known > 0) await compare(log, offset, bytes.subarray(0, known));
    const rest = bytes.subarray(known);
    if (rest.length === 0) return;
    if (closed) throw new ImpGemError('log-closed', 'The log is closed; nothing can be added to it.');
    await writeAll(log, rest, state.length);
    const before = state.marks;
    const marks = markBytes(state, rest, Date.now());
    if (marks.length > 0) await writeAll(index, encodeMarks(marks), before * MARK_SIZE);
  };

  const finish = async (): Promise<void> => {
    if (isStale()) await load();
    if (closed) return;
    await log.sync();
    await writeAll(index, encodeMarks([endMark(state, Date.now())]), state.marks * MARK_SIZE);
    await index.sync();
    const folder = await open(dirname(path));
    await folder.sync().finally(() => folder.close());
    closed = true;
  };
  return { append, finish, release };
}

async function writeAll(file: FileHandle, bytes: Buffer, at: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, at + done);
    done += bytesWritten;
  }
}

async function compare(log: FileHandle, offset: number, bytes: Buffer): Promise<void> {
  const stored = Buffer.alloc(bytes.length);
  const { bytesRead } = await log.read(stored, 0, stored.length, offset);
  if (bytesRead === bytes.length && stored.equals(bytes)) return;
  throw new ImpGemError('log-differs', `The log has other bytes at ${offset} already.`);
}

/**
 * Reads the state back. The records of a closed log are believed (they were synced before its end record); those of an
 * open one are compared with the text, kept as far as they are true, and made anew for the rest.
 */
async function loadState(log: FileHandle, index: FileHandle): Promise<{ state: IndexState; closed: boolean }> {
  const { size } = fstatSync(log.fd);
  const count = Math.floor(fstatSync(index.fd).size / MARK_SIZE);
  const [last] = await readMarks(index, Math.max(0, count - 1), count);
  if (last && isEndMark(last, size)) {
    return { state: { length: size, lines: last.line, marks: count - 1, markedAt: size, markedTime: 0 }, closed: true };
  }
  const state = emptyIndex();
  const made = await recount(log, size, marksReader(index, count), state);
  const kept = state.marks - made.length;
  await index.truncate(kept * MARK_SIZE);
  if (made.length > 0) await writeAll(index, encodeMarks(made), kept * MARK_SIZE);
  return { state, closed: false };
}

/** Counts the whole log into `state`, believing its marks while they are true; gives those that had to be made. */
async function recount(log: FileHandle, size: number, markAt: MarkAt, state: IndexState): Promise<LogMark[]> {
  const made: LogMark[] = [];
  const block = Buffer.alloc(Math.min(BLOCK, size));
  let mark = await markAt(0);
  let time = mark && mark.time > 0 ? mark.time : Date.now();
  while (state.length < size) {
    if (mark?.offset === state.length && mark.line === state.lines && mark.time > 0) {
      Object.assign(state, { marks: state.marks + 1, markedAt: mark.offset, markedTime: mark.time });
      time = mark.time;
      mark = await markAt(state.marks);
    } else mark = undefined;
    const end = mark && mark.offset > state.length && mark.offset <= state.length + SPAN ? mark.offset : size;
    const { bytesRead } = await log.read(block, 0, Math.min(block.length, end - state.length), state.length);
    if (bytesRead === 0) break;
    made.push(...markBytes(state, block.subarray(0, bytesRead), time));
    if (made.length > 0) mark = undefined;
  }
  return made;
}

type MarkAt = (n: number) => Promise<LogMark | undefined>;

/** Record by record, read by the block: the index of a long log is no small thing to hold as objects. */
function marksReader(index: FileHandle, count: number): MarkAt {
  let first = 0;
  let block: LogMark[] = [];
  return async (n) => {
    if (n >= first + block.length && n < count) {
      first = n;
      block = await readMarks(index, n, Math.min(count, n + 4096));
    }
    return block[n - first];
  };
}
