import type { Static } from 'typebox';
import { nearest } from '../config/nearest.ts';
import { toList } from './match-when.ts';
import { findCycle } from './order-graph.ts';
import type { Report } from './pipeline.ts';
import type { Needs } from './schema-parts.ts';
import type { Path } from './yaml-source.ts';

const MAX_SHOWN = 20;

export type NeedsSource = Static<typeof Needs>;

export function needsOf(needs: NeedsSource | undefined): { name: string; optional: boolean }[] {
  return toList(needs).map((need) =>
    typeof need === 'string' ? { name: need, optional: false } : { name: need.name, optional: need.optional ?? false },
  );
}

/** Unknown names, a name twice, cycles. `path` leads to the `needs`. */
export function checkNeeds(
  all: ReadonlyMap<string, { needs: NeedsSource | undefined; path: Path }>,
  what: 'job' | 'step',
  report: Report,
): void {
  const names = [...all.keys()];
  for (const [owner, { needs, path }] of all) {
    const seen = new Set<string>();
    for (const [index, { name }] of needsOf(needs).entries()) {
      const at = Array.isArray(needs) ? [...path, index] : path;
      if (seen.has(name)) report(at, { code: 'need-twice', message: `\`${name}\` is needed twice.` });
      seen.add(name);
      if (all.has(name)) continue;
      const near = nearest(name, names);
      report(at, {
        code: 'need-unknown',
        message: `There is no ${what} \`${name}\` that \`${owner}\` could need.`,
        hint: near ? `Did you mean \`${near}\`?` : `There are ${names.slice(0, 20).join(', ')}.`,
      });
    }
  }
  const cycle = findCycle(
    new Map([...all].map(([name, { needs }]) => [name, needsOf(needs).map((need) => need.name)])),
  );
  const start = cycle?.[0] === undefined ? undefined : all.get(cycle[0]);
  if (cycle && start)
    report(start.path, { code: 'need-cycle', message: `These ${what}s wait for each other: ${showCycle(cycle)}.` });
}

function showCycle(cycle: readonly string[]): string {
  const shown = cycle.length <= MAX_SHOWN ? cycle : [...cycle.slice(0, MAX_SHOWN - 1), '…', ...cycle.slice(-1)];
  return shown.join(' -> ');
}
