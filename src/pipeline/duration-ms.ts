import { parseDuration } from '../config/units.ts';

/** Timers of Node count to 2^31 - 1 ms (24 days). */
const MAX_MS = 2_147_483_647;

/** Ms of a duration that the schema has let through. */
export function durationMs(text: string): number {
  return parseDuration(text) ?? 0;
}

/** Longer than what can be waited for. */
export function isTooLong(text: string): boolean {
  return durationMs(text) > MAX_MS;
}
