/** How long the end of a job waits for output of its services that was not taken yet. */
import { once, setMaxListeners } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { ImpGemError } from '../errors.ts';

const PATIENCE_MS = 10_000;
const CANCELLED_PATIENCE_MS = 2_000;
const LEFT_OUT = 'service-output-left-out';

/** Whether it settled in time, which is shorter once `cancelled` is aborted. Never rejects. */
export async function waitForRest(rest: Promise<unknown>, cancelled: AbortSignal): Promise<boolean> {
  const over = new AbortController();
  const { signal } = over;
  // One signal tells every service of a job.
  setMaxListeners(0, cancelled);
  const late = async (ms: number): Promise<boolean> => delay(ms, false, { signal });
  const cancel = cancelled.aborted ? Promise.resolve() : once(cancelled, 'abort', { signal });
  const settled = rest.then(
    () => true,
    () => true,
  );
  try {
    return await Promise.race([
      settled,
      late(PATIENCE_MS).catch(() => false),
      cancel.then(() => late(CANCELLED_PATIENCE_MS)).catch(() => false),
    ]);
  } finally {
    over.abort();
  }
}

/** The end of a service whose output was not waited for any longer. */
export function restLeftOut(): ImpGemError {
  return new ImpGemError(LEFT_OUT, 'The job ended before all output of this service was taken: the rest is left out');
}

/** Of one that printed more than the engine keeps, faster than it was taken. */
export function overrun(): ImpGemError {
  const message =
    'This service printed faster than its output was taken, and the engine keeps only so much of it: the rest is left out';
  return new ImpGemError(LEFT_OUT, message);
}

export function isRestLeftOut(error: unknown): boolean {
  return error instanceof ImpGemError && error.code === LEFT_OUT;
}
