/** Places for jobs that several queues share. */
export interface Slots {
  free(): number;
  /** Takes a place for a ticket of this queue. False: there is none, or others were sent away before. */
  enter(queue: string): boolean;
  leave(): void;
}

/** A queue that was sent away and does not come for a free place within this time has been served by others. */
const OWED_MS = 250;

/**
 * Queues that were sent away come first, in that order: or the one that just had the place would always be the quickest to
 * take it again.
 */
export function createSlots(limit: number): Slots {
  let taken = 0;
  let freedAt = 0;
  const owed = new Set<string>();
  const free = (): number => limit - taken;
  return {
    free,
    enter(queue) {
      if (free() > 0 && performance.now() - freedAt > OWED_MS) owed.clear();
      const ahead = owed.has(queue) ? [...owed].indexOf(queue) : owed.size;
      if (ahead >= free()) {
        owed.add(queue);
        return false;
      }
      owed.delete(queue);
      taken++;
      return true;
    },
    leave() {
      taken--;
      freedAt = performance.now();
    },
  };
}
