import type { Limits } from '../runs/plan.ts';

/** A task may ask for less than the operator's caps, not for more. */
export function capLimits(asked: Limits, caps: Required<Limits>): Required<Limits>;
export function capLimits(asked: Limits, caps: Limits): Limits;
export function capLimits(asked: Limits, caps: Limits): Limits {
  const capped: Limits = {};
  for (const name of ['memory', 'cpu', 'pids'] as const) {
    const least = Math.min(asked[name] ?? Infinity, caps[name] ?? Infinity);
    if (least !== Infinity) capped[name] = least;
  }
  return capped;
}
