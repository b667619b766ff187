/** Podman instead of Docker, over its Docker API: what holds, and what docs/isolation.md says does not. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createDockerExecutor } from '../../src/executors/docker/docker-executor.ts';
import { BASE_IMAGE, type EngineBench, openEngineBench } from '../support/docker-engine.ts';
import { type PodmanEngine, startPodmanEngine } from '../support/podman-engine.ts';
import { conformance } from './conformance.ts';

let engine: PodmanEngine;
let bench: EngineBench;
beforeAll(async () => {
  engine = await startPodmanEngine();
  bench = await openEngineBench({ host: engine.host });
});
afterAll(async () => {
  await bench.close();
  await engine.stop();
});

conformance('docker, on Podman', {
  create: () => createDockerExecutor(bench.options),
  image: BASE_IMAGE,
  can: {
    bash: true,
    images: true,
    limits: true,
    services: true,
    adoption: true,
    blocksOnOutput: false,
    sealsProc: false,
  },
});

it('leaves nothing', async () => {
  expect(await bench.leftovers()).toEqual([]);
});
