/** Rejects with the signal's reason when that is aborted; the work goes on alone then. */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const over = new AbortController();
  const aborted = new Promise<never>((_, reject) => {
    const onAbort = () => reject(signal.reason as Error);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { signal: over.signal });
  });
  try {
    return await Promise.race([aborted, work]);
  } finally {
    over.abort();
  }
}
