/**
 * The index beside a log: records of 24 bytes, oldest first. Each says what is true at one place of the log, so that a
 * reader finds any line by looking at a few records and at most SPAN bytes of text. It is a hint, never the truth: a
 * reader that finds it shorter than the log scans on from the last record.
 */
import type { FileHandle } from 'node:fs/promises';

/** Bytes of log between two marks at most, unless a crash cut the index short. */
export const SPAN = 64 * 1024;
export const MARK_SIZE = 24;

export interface LogMark {
  /** Place in the log, in bytes. */
  offset: number;
  /** Line breaks before it. */
  line: number;
  /** ms since 1970 when the bytes from here on came. */
  time: number;
}

/** What the writer knows at the end of a log, to go on from. */
export interface IndexState {
  length: number;
  lines: number;
  marks: number;
  markedAt: number;
  markedTime: number;
}

export const emptyIndex = (): IndexState => ({ length: 0, lines: 0, marks: 0, markedAt: 0, markedTime: -1 });

/** Counts `bytes` (which follow `state.length`) into the state; gives the marks to add: one a new ms, one a SPAN. */
export function markBytes(state: IndexState, bytes: Buffer, time: number): LogMark[] {
  const marks: LogMark[] = [];
  let at = 0;
  const mark = () => {
    marks.push({ offset: state.length + at, line: state.lines, time });
    state.markedAt = state.length + at;
    state.markedTime = time;
  };
  if (bytes.length > 0 && (state.marks === 0 || time !== state.markedTime)) mark();
  for (;;) {
    const next = Math.min(bytes.length, state.markedAt + SPAN - state.length);
    state.lines += countLines(bytes, at, next);
    at = next;
    if (at >= bytes.length) break;
    mark();
  }
  state.length += bytes.length;
  state.marks += marks.length;
  return marks;
}

/** Line breaks in bytes[from, to). A plain loop: `indexOf` costs a call a line, which short lines cannot afford. */
export function countLines(bytes: Buffer, from: number, to: number): number {
  let count = 0;
  for (let at = from; at < to; at++) if (bytes[at] === 10) count++;
  return count;
}

/** Place behind the `count`-th line break (1..) of bytes, or -1. */
export function skipLines(bytes: Buffer, count: number): number {
  let at = 0;
  for (let left = count; left > 0; left--) {
    const found = bytes.indexOf(10, at);
    if (found === -1) return -1;
    at = found + 1;
  }
  return at;
}

export function encodeMarks(marks: LogMark[]): Buffer {
  const bytes = Buffer.allocUnsafe(marks.length * MARK_SIZE);
  for (const [n, mark] of marks.entries()) {
    bytes.writeDoubleLE(mark.offset, n * MARK_SIZE);
    bytes.writeDoubleLE(mark.line, n * MARK_SIZE + 8);
    bytes.writeDoubleLE(mark.time, n * MARK_SIZE + 16);
  }
  return bytes;
}

/** Whole records only: a torn one at the end does not count. */
function decodeMarks(bytes: Buffer): LogMark[] {
  return Array.from({ length: Math.floor(bytes.length / MARK_SIZE) }, (_, n) => ({
    offset: bytes.readDoubleLE(n * MARK_SIZE),
    line: bytes.readDoubleLE(n * MARK_SIZE + 8),
    time: bytes.readDoubleLE(n * MARK_SIZE + 16),
  }));
}

/** The record that closes a log: its length and lines, with the time negative. No log starts before 1970. */
export const endMark = (state: IndexState, now: number): LogMark => ({
  offset: state.length,
  line: state.lines,
  time: -now,
});
export const isEndMark = (mark: LogMark | undefined, length: number): boolean =>
  mark !== undefined && mark.time < 0 && mark.offset === length;

/** Records [from, to) of an open index. */
export async function readMarks(index: FileHandle, from: number, to: number): Promise<LogMark[]> {
  const bytes = Buffer.alloc(Math.max(0, to - from) * MARK_SIZE);
  const { bytesRead } = await index.read(bytes, 0, bytes.length, from * MARK_SIZE);
  return decodeMarks(bytes.subarray(0, bytesRead));
}

/** Number of the last of `count` records for which `holds` (true for a first stretch of them), or -1. */
export async function lastMarkWhere(
  index: FileHandle,
  count: number,
  holds: (mark: LogMark) => boolean,
): Promise<number> {
  let low = -1;
  let high = count;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    const [mark] = await readMarks(index, middle, middle + 1);
    if (mark && holds(mark)) low = middle;
    else high = middle;
  }
  return low;
}
