/** Why something is ended before its own end, and the clocks that do it. */
import type { FinalState } from '../runs/run.ts';

/** The `reason` of every signal that ends a task: what its step and job then become. */
export interface Stop {
  state: Exclude<FinalState, 'skipped'>;
  reason: string;
  /** The failure was ours. */
  infrastructure?: boolean;
}

/** The stop that a signal carries, if it was aborted with one. */
export function stopOf(signal: AbortSignal): Stop | undefined {
  return signal.aborted ? (signal.reason as Stop) : undefined;
}

export function timedOut(ms: number): Stop {
  return { state: 'failed', reason: `timed out after ${formatDuration(ms)}` };
}

/** Longest delay that setTimeout takes; more would fire at once. */
const MAX_DELAY = 2 ** 31 - 1;

/** Calls back after `ms` (at once when that is past), unless the disposer is called first. */
export function startClock(ms: number, onEnd: () => void): () => void {
  const timer = setTimeout(onEnd, Math.min(Math.max(ms, 0), MAX_DELAY));
  return () => clearTimeout(timer);
}

/** Waits; gives false as soon as the signal is aborted. */
export async function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return false;
  return new Promise((resolve) => {
    const end = (waited: boolean) => () => {
      clear();
      signal.removeEventListener('abort', onAbort);
      resolve(waited);
    };
    const onAbort = end(false);
    const clear = startClock(ms, end(true));
    signal.addEventListener('abort', onAbort);
  });
}

/** Aborted `ms` after `stop` was, for the same reason: ends what cleans up behind a job that was ended. */
export function lateStop(stop: AbortSignal, ms: number): AbortSignal {
  const late = new AbortController();
  const onStop = (): void => {
    const { state, reason } = stop.reason as Stop;
    const why = `${reason}; steps that always run have ${formatDuration(ms)} then`;
    setTimeout(() => late.abort({ state, reason: why } satisfies Stop), ms).unref();
  };
  if (stop.aborted) onStop();
  else stop.addEventListener('abort', onStop, { once: true });
  return late.signal;
}

/** Rejects when the signal is aborted; to race against. */
export function rejectWhenAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const onAbort = () => reject(new Error('stopped'));
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
}

const UNITS: [string, number][] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
];

/** `10s`, `1h30m`, `500ms`: as the pipeline file writes it. */
export function formatDuration(ms: number): string {
  let rest = Math.round(ms);
  let text = '';
  for (const [unit, size] of UNITS) {
    const count = Math.floor(rest / size);
    if (count > 0) text += `${count}${unit}`;
    rest %= size;
  }
  return rest > 0 || text === '' ? `${text}${rest}ms` : text;
}
