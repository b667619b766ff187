import { afterAll, beforeAll, expect, it } from 'vitest';
import { createDockerExecutor } from '../../src/executors/docker/docker-executor.ts';
import { BASE_IMAGE, type EngineBench, openEngineBench } from '../support/docker-engine.ts';
import { conformance } from './conformance.ts';

let bench: EngineBench;
beforeAll(async () => {
  bench = await openEngineBench();
});
afterAll(async () => {
  await bench.close();
});

conformance('docker', {
  create: () => createDockerExecutor(bench.options),
  image: BASE_IMAGE,
  can: {
    bash: true,
    images: true,
    limits: true,
    services: false,
    adoption: true,
    blocksOnOutput: false,
    sealsProc: false,
  },
});

it('leaves nothing on the engine', async () => {
  expect(await bench.leftovers()).toEqual([]);
});
