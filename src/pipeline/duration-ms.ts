import { parseDuration } from '../config/units.ts';

/** Timers of Node count to 2^31 - 1 ms (24 days). */
const MAX_MS = 2_147_483_647;

/** Ms of a duration that the schema has let through, at most what a timer can hold. */
export function durationMs(text: string): number {
  return Math.min(parseDuration(text) ?? 0, MAX_MS);
}
