import type { Plan } from './plan.ts';

/** Plans that were used last. A plan may be as large as its author likes, so what counts is their size together. */
export interface PlanCache {
  get(run: string): Plan | undefined;
  /** `size`: length of its JSON. The newest stays, however large. */
  put(run: string, plan: Plan, size: number): void;
  drop(run: string): void;
}

export function createPlanCache(maxSize: number): PlanCache {
  const entries = new Map<string, { plan: Plan; size: number }>();
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
      return entry.plan;
    },
    put(run, plan, size) {
      drop(run);
      entries.set(run, { plan, size });
      total += size;
      for (const oldest of entries.keys()) {
        if (total <= maxSize || oldest === run) return;
        drop(oldest);
      }
    },
    drop,
  };
}
