import { createHash } from 'node:crypto';

const PATTERN = /^[0-9a-z]{8}r[0-9a-f]{11}$/;

/**
 * A run's id: its time in base 36 (so ids sort by age) and a hash of what asked for it (so that planning the same
 * delivery twice names the same run).
 */
export function makeRunId(createdAt: string, cause: string): string {
  const time = Date.parse(createdAt).toString(36).padStart(8, '0');
  return `${time}r${createHash('sha256').update(cause).digest('hex').slice(0, 11)}`;
}

export function isRunId(text: string): boolean {
  return PATTERN.test(text);
}

/** ms since 1970 of an id made by makeRunId. */
export function timeOfRunId(id: string): number {
  return Number.parseInt(id.slice(0, 8), 36);
}
