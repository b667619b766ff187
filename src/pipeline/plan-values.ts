/** Values that jobs, steps and services share, from their source form to the plan's. */
import type { Static } from 'typebox';
import type { Concurrency, Retry } from '../runs/plan.ts';
import { compact } from './compact.ts';
import { durationMs } from './duration-ms.ts';
import type { PlanContext } from './plan-pipeline.ts';
import type { MatrixCell } from './schema.ts';
import type { Concurrency as ConcurrencySchema, Retry as RetrySchema } from './schema-parts.ts';
import type { Path } from './yaml-source.ts';

/** Values stay expressions: the worker fills them in, so that nothing a stranger wrote is read as one. */
export function planEnv(env: Readonly<Record<string, string | number | boolean>> | undefined): Record<string, string> {
  return Object.fromEntries(Object.entries(env ?? {}).map(([name, value]) => [name, String(value)]));
}

export function planRetry(retry: Static<typeof RetrySchema> | undefined): Retry {
  if (retry === undefined) return { count: 0, delayMs: 0, infrastructure: false };
  if (typeof retry === 'number') return { count: retry, delayMs: 0, infrastructure: retry > 0 };
  return {
    count: retry.count,
    delayMs: retry.delay === undefined ? 0 : durationMs(retry.delay),
    ...compact({ exitCodes: retry['exit-codes'] }),
    infrastructure: retry.infrastructure ?? retry.count > 0,
  };
}

export function unique(names: readonly string[]): string[] {
  return [...new Set(names)];
}

export function planConcurrency(
  concurrency: Static<typeof ConcurrencySchema> | undefined,
  path: Path,
  matrix: MatrixCell,
  { fill }: Pick<PlanContext, 'fill'>,
): Concurrency | undefined {
  if (concurrency === undefined) return undefined;
  if (typeof concurrency === 'string') return { group: fill(concurrency, path, matrix), mode: 'queue' };
  const { group, mode, cancel } = concurrency;
  return { group: fill(group, [...path, 'group'], matrix), mode: mode ?? (cancel === true ? 'cancel' : 'queue') };
}
