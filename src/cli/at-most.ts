import { setTimeout as sleep } from 'node:timers/promises';

/** What the work gives, or undefined after `ms` without it: a process that stops must not wait for what is away. */
export async function atMost<T>(ms: number, work: Promise<T>): Promise<T | undefined> {
  const timer = new AbortController();
  try {
    // The timer ends with an error when it is not needed any more, which nobody waits for then.
    return await Promise.race([work, sleep(ms, undefined, { signal: timer.signal }).catch(() => undefined)]);
  } finally {
    timer.abort();
  }
}
