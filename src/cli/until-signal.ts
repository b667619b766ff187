import { atMost } from './at-most.ts';

/** A SIGINT this soon after another is the same Ctrl-C: `npx` passes on what the terminal sends to both. */
const SAME_MS = 500;

/**
 * Aborts at the first SIGINT or SIGTERM; `again` is called at each further Ctrl-C. A further SIGTERM says nothing new: a
 * service manager sends it to all of a service, and `impgem up` to its parts once more.
 */
export function untilSignal(again: () => void): AbortSignal {
  const controller = new AbortController();
  let firstAt = 0;
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      if (!controller.signal.aborted) {
        firstAt = performance.now();
        controller.abort(signal);
      } else if (signal === 'SIGINT' && performance.now() - firstAt > SAME_MS) again();
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
