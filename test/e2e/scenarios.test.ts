/** Every scenario, through the server and through `impgem run`: the same files, the same outcome. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Product, startProduct } from '../support/product.ts';
import {
  type Happening,
  type Observed,
  openScenario,
  outcomeOf,
  readScenario,
  scenarioNames,
} from '../support/scenario.ts';
import { playLocally } from '../support/scenario-locally.ts';
import { playOnServer } from '../support/scenario-on-server.ts';

const names = scenarioNames();
const EXIT: Partial<Record<string, number>> = { succeeded: 0, skipped: 0, failed: 1, cancelled: 2, errored: 3 };

let product: Product;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'impgem-scenarios-'));
  product = await startProduct({ IMPGEM_CONCURRENCY: '8' });
  await product.startWorker();
});
afterAll(async () => {
  await product.stop();
  await rm(folder, { recursive: true, force: true });
});

/** The runs of an event against those that are expected, by pipeline. */
async function seenOf({ runs: expected = {} }: Happening, runs: Observed[]): Promise<Happening['runs']> {
  const outcomes = runs.map(async (one): Promise<[string, object]> => {
    const name = one.run.pipeline ?? '';
    return [name, await outcomeOf(one, expected[name] ?? { states: [] })];
  });
  return Object.fromEntries(await Promise.all(outcomes)) as Happening['runs'];
}

it('there are at least 30', () => {
  expect(names.length).toBeGreaterThanOrEqual(30);
});

describe('through the server', () => {
  it.concurrent.for(names.filter((name) => readScenario(name).notOnServer === undefined))(
    '%s',
    async (name, { expect }) => {
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
    },
  );
});

describe('through impgem run', () => {
  it.concurrent.for(names)('%s', async (name, { expect }) => {
    const scenario = await openScenario(name);
    const ends = await playLocally(join(folder, name), scenario);
    for (const [index, end] of ends.entries()) {
      const happening = scenario.events[index] ?? {};
      if (!end) continue;
      expect(end.diagnostics.map(({ code }) => code)).toEqual(happening.refused ?? []);
      if (!happening.refused) expect(await seenOf(happening, end.runs)).toEqual(happening.runs ?? {});
      const codes = end.runs.map(({ run }) => EXIT[run.state] ?? -1);
      expect(end.code).toBe(happening.refused ? 1 : Math.max(...codes));
    }
  });
});
