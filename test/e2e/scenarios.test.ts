/** Every scenario, through the server and through `impgem run`: the same files, the same outcome. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkLocally, checkOnServer } from '../support/check-scenario.ts';
import { type Product, startProduct } from '../support/product.ts';
import { readScenario, scenarioNames } from '../support/scenario.ts';

const names = scenarioNames();

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

it('there are at least 30', () => {
  expect(names.length).toBeGreaterThanOrEqual(30);
});

describe('through the server', () => {
  it.concurrent.for(names.filter((name) => readScenario(name).notOnServer === undefined))('%s', (name, { expect }) =>
    checkOnServer(product, name, expect),
  );
});

describe('through impgem run', () => {
  it.concurrent.for(names)('%s', (name, { expect }) =>
    checkLocally(folder, name, { IMPGEM_EXECUTOR: 'sandbox' }, expect),
  );
});
