/**
 * How far a follower has read: bytes per log. Written as text it is the `id:` of an event. Logs that were read to their
 * end are counted, not listed, as long as they are the first steps of a job: so the text stays short in a run of many jobs.
 *
 * Grammar: entries joined by `~`; an entry is `JOB.ATTEMPT.PART-OFFSET` with the job's index in the run (`r`: the run's
 * own log), offset in base 36; the part `*` with a count says that so many first steps are read to their end.
 */
import { InputError } from '../../errors.ts';

export interface LogPosition {
  /** By `positionKey`. */
  offsets: Map<string, number>;
  /** Count of first steps read to their end, by `JOB.ATTEMPT`. */
  done: Map<string, number>;
}

export function emptyPosition(): LogPosition {
  return { offsets: new Map(), done: new Map() };
}

/** `group` is `JOB.ATTEMPT`. */
function positionKey(group: string, part: string): string {
  return `${group}.${encodeURIComponent(part)}`;
}

export function encodePosition(position: LogPosition): string {
  const entries: string[] = [];
  for (const [group, count] of position.done) entries.push(`${group}.*-${count.toString(36)}`);
  for (const [key, offset] of position.offsets) entries.push(`${key}-${offset.toString(36)}`);
  return entries.join('~');
}

const ENTRY = /^((?:r|\d{1,5})\.\d{1,6})\.([\w.!'()*%-]{1,300})-([0-9a-z]{1,11})$/;

/** InputError `position-invalid` (400) for a text that we never gave. */
export function decodePosition(text: string): LogPosition {
  const position = emptyPosition();
  if (text === '') return position;
  for (const entry of text.split('~')) {
    const [, group, part, digits] = ENTRY.exec(entry) ?? [];
    const value = digits === undefined ? NaN : parseInt(digits, 36);
    if (group === undefined || part === undefined || !Number.isSafeInteger(value))
      throw new InputError('position-invalid', 'Last-Event-ID is not a position that this server gave.');
    if (part === '*') position.done.set(group, value);
    else position.offsets.set(`${group}.${part}`, value);
  }
  return position;
}

/** Bytes already read of a log; `infinite` when it was read to its end. */
export function offsetIn(position: LogPosition, group: string, part: string): number {
  const index = /^\d+$/.test(part) ? Number(part) : undefined;
  if (index !== undefined && index < (position.done.get(group) ?? 0)) return Infinity;
  return position.offsets.get(positionKey(group, part)) ?? 0;
}

/** Notes that a log was read up to `offset`; `ended`: nothing more will come. */
export function advancePosition(
  position: LogPosition,
  group: string,
  part: string,
  offset: number,
  ended: boolean,
): void {
  const done = position.done.get(group) ?? 0;
  if (ended && part === String(done)) {
    position.offsets.delete(positionKey(group, part));
    position.done.set(group, done + 1);
  } else position.offsets.set(positionKey(group, part), offset);
}
