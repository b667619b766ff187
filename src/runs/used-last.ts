/** What was used last, by the run it belongs to. One may be as large as its author likes, so what counts is their size together. */
export interface UsedLast<T> {
  get(run: string): T | undefined;
  /** `size`: length of its JSON. The newest stays, however large. */
  put(run: string, value: T, size: number): void;
  drop(run: string): void;
}

export function createUsedLast<T>(maxSize: number): UsedLast<T> {
  const entries = new Map<string, { value: T; size: number }>();
  let total = 0;
  const drop = (run: string): void => {
    total -= entries.get(run)?.size ?? 0;
    entries.delete(run);
  };
  return {
    get(run) {
      const entry = entries.get(run);
      if (!entry) return undefined;
      entries.delete(run);
      entries.set(run, entry);
      return entry.value;
    },
    put(run, value, size) {
      drop(run);
      entries.set(run, { value, size });
      total += size;
      for (const oldest of entries.keys()) {
        if (total <= maxSize || oldest === run) return;
        drop(oldest);
      }
    },
    drop,
  };
}
