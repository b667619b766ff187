/**
 * Scenarios in containers: the same files and the same outcome as in the sandbox. A few that lean on the executor; all of
 * them with TEST_SCENARIOS=all, on the engine that DOCKER_HOST names (each job has a network: the pools of an engine
 * as it comes hold about 30).
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { checkLocally, checkOnServer } from '../support/check-scenario.ts';
import { removeInstallation, startDockerEngine } from '../support/docker-engine.ts';
import { type Product, startProduct } from '../support/product.ts';
import { readScenario, scenarioNames } from '../support/scenario.ts';

const ON_SERVER = /^(09|11|14|15|22|29|37|46|53|69)_/;
const LOCALLY = /^(08|16|30|40|70)_/;

const { DOCKER_HOST, TEST_SCENARIOS } = process.env;
const chosen = (some: RegExp): string[] =>
  scenarioNames()
    .filter((name) => TEST_SCENARIOS === 'all' || some.test(name))
    .filter((name) => readScenario(name).notInContainers === undefined);
const env = { IMPGEM_EXECUTOR: 'docker', ...(DOCKER_HOST === undefined ? {} : { DOCKER_HOST }) };

let product: Product;
let folder: string;
beforeAll(async () => {
  await startDockerEngine();
  folder = await mkdtemp(join(tmpdir(), 'impgem-scenarios-'));
  product = await startProduct({ IMPGEM_CONCURRENCY: '4', ...env });
  await product.startWorker();
});
afterAll(async () => {
  const data = join(product.folder, 'data');
  await product.stop();
  await removeInstallation(data);
  await rm(folder, { recursive: true, force: true });
});

describe('through the server', () => {
  const names = chosen(ON_SERVER).filter((name) => readScenario(name).notOnServer === undefined);
  it.concurrent.for(names)('%s', (name, { expect }) => checkOnServer(product, name, expect));
});

describe('through impgem run', () => {
  it.concurrent.for(chosen(LOCALLY))('%s', (name, { expect }) => checkLocally(folder, name, env, expect));
});
