/** What must come of a scenario, through the server and through `impgem run`. */
import { join } from 'node:path';
import type { ExpectStatic } from 'vitest';
import type { Product } from './product.ts';
import { type Happening, type Observed, openScenario, outcomeOf } from './scenario.ts';
import { playLocally } from './scenario-locally.ts';
import { playOnServer } from './scenario-on-server.ts';

const EXIT: Partial<Record<string, number>> = { succeeded: 0, skipped: 0, failed: 1, cancelled: 2, errored: 3 };

export async function checkOnServer(product: Product, name: string, expect: ExpectStatic): Promise<void> {
  const scenario = await openScenario(name);
  const received = await playOnServer(product, name, scenario);
  for (const [index, { ignored, runs }] of received.entries()) {
    const happening = scenario.events[index] ?? {};
    expect(ignored).toBe(happening.ignored);
    if (happening.refused) {
      expect(runs).toMatchObject([{ run: { state: 'errored', jobs: [] } }]);
      const log = await runs[0]?.log('', '');
      for (const code of happening.refused) expect(log).toContain(code);
    } else expect(await seenOf(happening, runs)).toEqual(happening.runs ?? {});
  }
}

/** In a checkout in a folder of its own under `folder`; `env` is that of the process. */
export async function checkLocally(
  folder: string,
  name: string,
  env: Record<string, string>,
  expect: ExpectStatic,
): Promise<void> {
  const scenario = await openScenario(name);
  const ends = await playLocally(join(folder, name), scenario, env);
  for (const [index, end] of ends.entries()) {
    const happening = scenario.events[index] ?? {};
    if (!end) continue;
    expect(end.diagnostics.map(({ code }) => code)).toEqual(happening.refused ?? []);
    if (!happening.refused) expect(await seenOf(happening, end.runs)).toEqual(happening.runs ?? {});
    const codes = end.runs.map(({ run }) => EXIT[run.state] ?? -1);
    expect(end.code).toBe(happening.refused ? 1 : Math.max(...codes));
  }
}

/** The runs of an event against those that are expected, by pipeline. */
async function seenOf({ runs: expected = {} }: Happening, runs: Observed[]): Promise<Happening['runs']> {
  const outcomes = runs.map(async (one): Promise<[string, object]> => {
    const name = one.run.pipeline ?? '';
    return [name, await outcomeOf(one, expected[name] ?? { states: [] })];
  });
  return Object.fromEntries(await Promise.all(outcomes)) as Happening['runs'];
}
