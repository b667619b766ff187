import { atMost } from './at-most.ts';

/** Aborts at the first SIGINT or SIGTERM; `again` is called at each further one. */
export function untilSignal(again: () => void): AbortSignal {
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      if (controller.signal.aborted) again();
      else controller.abort(signal);
    });
  return controller.signal;
}

/** Resolves when the signal aborts. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** A start that is under way when the stop comes may take this long. */
const START_MS = 2000;

/**
 * What was started, once the signal says that it is to stop; undefined when it has not begun by then, for it waits for
 * something that is away (Redis).
 */
export async function startedUntil<T>(signal: AbortSignal, starting: Promise<T>): Promise<T | undefined> {
  const stopped = aborted(signal);
  const started = await Promise.race([starting, stopped.then(() => atMost(START_MS, starting))]);
  await stopped;
  return started;
}
