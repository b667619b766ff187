import { join } from 'node:path';
import { InputError } from '../errors.ts';
import type { LogKey } from '../runs/run.ts';

/** How the run's own log (job '') is written in a path, on disk and in an address; no job may have this id. */
export const NO_JOB = '-';

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;
const JOB = /^[A-Za-z0-9_-]{1,128}$/;

/** Folder of a run's logs. InputError `log-key` for an id that is no plain name. */
export function runFolder(folder: string, run: string): string {
  return join(folder, checked(NAME, run, 'run'));
}

/** Path of a log without its ending. Names are allowed by pattern, so that none of them can be `..` or hold a `/`. */
export function logPath(folder: string, key: LogKey): string {
  const job = key.job === '' ? NO_JOB : checked(JOB, key.job, 'job');
  if (key.job === NO_JOB) refuse('job', key.job);
  if (!Number.isSafeInteger(key.attempt) || key.attempt < 0) refuse('attempt', String(key.attempt));
  return join(runFolder(folder, key.run), job, String(key.attempt), checked(NAME, key.part, 'part'));
}

/** The key from the parts of an address or a path (`-` is the run's own log). InputError `log-key` when one is off. */
export function parseLogKey(names: { run: string; job: string; attempt: string; part: string }): LogKey {
  if (!/^[0-9]{1,9}$/.test(names.attempt)) refuse('attempt', names.attempt);
  const job = names.job === NO_JOB ? '' : checked(JOB, names.job, 'job');
  const attempt = Number(names.attempt);
  return { run: checked(NAME, names.run, 'run'), job, attempt, part: checked(NAME, names.part, 'part') };
}

/** By job, attempt, then part: steps in their order before `job` and the services. */
export function compareLogKeys(a: LogKey, b: LogKey): number {
  return compareNames(a.job, b.job) || a.attempt - b.attempt || compareParts(a.part, b.part);
}

function compareParts(a: string, b: string): number {
  const [left, right] = [Number(a), Number(b)];
  if (Number.isNaN(left) !== Number.isNaN(right)) return Number.isNaN(left) ? 1 : -1;
  return Number.isNaN(left) ? compareNames(a, b) : left - right;
}

function compareNames(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function checked(pattern: RegExp, value: string, what: string): string {
  return pattern.test(value) ? value : refuse(what, value);
}

function refuse(what: string, value: string): never {
  throw new InputError('log-key', `${JSON.stringify(value.slice(0, 60))} is not a valid ${what} of a log.`);
}
