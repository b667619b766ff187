/** The readers' half of the log store: nothing here is shared with a writer but the files. */
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { diskError, systemCode } from '../errors.ts';
import { MARK_SIZE, countLines, lastMarkWhere, readMarks, skipLines } from './line-index.ts';

const FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW;
/** No such file, or no such folder on the way. */
const MISSING = new Set(['ENOENT', 'ENOTDIR']);
const BLOCK = 64 * 1024;

export interface OpenLog {
  log: FileHandle;
  length: number;
  index: FileHandle | undefined;
  /** Records in the index, the end record included. */
  marks: number;
}

/** Opens a log (path without ending) for the time of `task`; gives `missing` when there is none. */
export async function withLog<T>(path: string, missing: T, task: (log: OpenLog) => Promise<T>): Promise<T> {
  const log = await openToRead(`${path}.log`);
  if (!log) return missing;
  let index: FileHandle | undefined;
  try {
    index = await openToRead(`${path}.idx`);
    const marks = index ? Math.floor((await index.stat()).size / MARK_SIZE) : 0;
    return await task({ log, length: (await log.stat()).size, index, marks });
  } catch (error) {
    throw diskError('the log', error);
  } finally {
    await Promise.all([log.close(), index?.close()]);
  }
}

/** Bytes [from, to) as far as they exist, in fresh buffers of `size` bytes at most. */
export async function* readBlocks(path: string, from: number, to: number, size: number): AsyncGenerator<Buffer> {
  const log = await openToRead(`${path}.log`);
  if (!log) return;
  try {
    for (let at = Math.max(0, from); at < to;) {
      const block = Buffer.allocUnsafe(Math.min(size, to - at));
      const { bytesRead } = await log.read(block, 0, block.length, at);
      if (bytesRead === 0) return;
      at += bytesRead;
      yield block.subarray(0, bytesRead);
    }
  } catch (error) {
    throw diskError('the log', error);
  } finally {
    await log.close();
  }
}

/** Where line `line` (from 0) starts; the end of the log when it has not that many line breaks. */
export async function findLine(file: OpenLog, line: number): Promise<{ offset: number; found: boolean }> {
  if (line === 0) return { offset: 0, found: true };
  const start = await startAt(file, (mark) => mark.line < line);
  let missing = line - start.line;
  for await (const { block, at } of scan(file, start.offset)) {
    const here = countLines(block, 0, block.length);
    if (here >= missing) return { offset: at + skipLines(block, missing), found: true };
    missing -= here;
  }
  return { offset: file.length, found: false };
}

/** Line breaks, and one more for a last line without. */
export async function totalLines(file: OpenLog): Promise<number> {
  const start = await startAt(file, () => true);
  let { line } = start;
  let last = 10;
  for await (const { block } of scan(file, start.offset)) {
    line += countLines(block, 0, block.length);
    last = block.at(-1) ?? last;
  }
  return last === 10 ? line : line + 1;
}

/** The last record that `holds`, among those that speak of text that is there. */
async function startAt(file: OpenLog, holds: (mark: { line: number }) => boolean) {
  const none = { offset: 0, line: 0 };
  if (!file.index) return none;
  // Text behind the mark is needed, to see whether the last line has its line break.
  const n = await lastMarkWhere(file.index, file.marks, (mark) => mark.offset < file.length && holds(mark));
  return n < 0 ? none : ((await readMarks(file.index, n, n + 1))[0] ?? none);
}

async function* scan(file: OpenLog, from: number): AsyncGenerator<{ block: Buffer; at: number }> {
  const buffer = Buffer.allocUnsafe(Math.min(BLOCK, Math.max(0, file.length - from)));
  for (let at = from; at < file.length;) {
    const { bytesRead } = await file.log.read(buffer, 0, Math.min(buffer.length, file.length - at), at);
    if (bytesRead === 0) return;
    yield { block: buffer.subarray(0, bytesRead), at };
    at += bytesRead;
  }
}

async function openToRead(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, FLAGS);
  } catch (error) {
    if (MISSING.has(systemCode(error))) return undefined;
    throw diskError('the log', error);
  }
}
