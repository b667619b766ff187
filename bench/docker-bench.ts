/** What the benches of the docker executor share: a job in a temporary folder, raw containers of the same isolation. */
import type Docker from 'dockerode';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { containerOptions } from '../src/executors/docker/container-spec.ts';
import { createDockerExecutor } from '../src/executors/docker/docker-executor.ts';
import { askKind, type EngineKind } from '../src/executors/docker/engine-kind.ts';
import { connectEngine } from '../src/executors/docker/engine.ts';
import type { Executor, JobSandbox, Task } from '../src/executors/executor.ts';

const IMAGE = 'debian:bookworm-slim';
const LIMITS = { memory: 2 * 1024 ** 3, cpu: 2, pids: 1024 };

export interface DockerBench {
  executor: Executor;
  job(): Promise<JobSandbox>;
  /** Settles when a warm slot waits for the next job. */
  warm(): Promise<void>;
  raw: RawEngine;
  close(): Promise<void>;
}

export interface RawEngine {
  /** One after the other: create, start and wait of `true`, joined to a network that is there already. ms. */
  run(times: number): Promise<number>;
  /** A container started ahead: ms from its script on stdin to its first byte through the engine. */
  firstByte(): Promise<number>;
}

export async function openDockerBench(warmSlots = 1): Promise<DockerBench> {
  const folder = await mkdtemp(join(tmpdir(), 'impgem-bench-'));
  const instance = `bench-${randomBytes(4).toString('hex')}`;
  const executor = await createDockerExecutor({
    limits: LIMITS,
    pullPolicy: 'missing',
    instance,
    workerName: 'bench',
    folder: join(folder, 'warm'),
    logLimit: 2 * 1024 ** 3,
    warmSlots,
    image: IMAGE,
    onProblem: (error) => console.error(error),
  });
  const engine = await connectEngine({});
  const holder = await engine.docker.createContainer({
    Image: IMAGE,
    Entrypoint: ['sleep', '100000'],
    HostConfig: { NetworkMode: 'bridge' },
  });
  await holder.start();
  let jobs = 0;
  return {
    executor,
    async job() {
      jobs += 1;
      const path = join(folder, `job-${jobs}`);
      for (const name of ['workspace', 'home']) await mkdir(join(path, name), { recursive: true });
      const owner = { run: instance, job: String(jobs), attempt: 1 };
      const context = { owner, folder: path, image: IMAGE, trusted: false, note: () => undefined };
      return executor.prepare({ ...context, ready: Promise.resolve() });
    },
    async warm() {
      const filters = { label: [`dev.impgem.instance=${instance}`, 'dev.impgem.step=warm'], status: ['running'] };
      while ((await engine.docker.listContainers({ filters })).length < 3) await pause(200);
    },
    raw: rawEngine(engine.docker, await askKind(engine.docker), holder.id),
    async close() {
      await executor.close();
      await holder.remove({ force: true });
      engine.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function rawEngine(docker: Docker, engine: EngineKind, holderId: string): RawEngine {
  const create = (entrypoint: string[], stdin: boolean) => {
    const options = containerOptions({
      engine,
      image: IMAGE,
      entrypoint,
      labels: {},
      network: `container:${holderId}`,
      limits: LIMITS,
      binds: [],
      stdin,
      log: 'none',
    });
    return docker.createContainer(options);
  };
  return {
    async run(times) {
      const made: Docker.Container[] = [];
      const begin = performance.now();
      for (let turn = 0; turn < times; turn += 1) {
        const container = await create(['true'], false);
        made.push(container);
        await container.start();
        await container.wait();
      }
      const took = performance.now() - begin;
      for (const container of made) await container.remove({ force: true, v: true });
      return took;
    },
    async firstByte() {
      const container = await create(['bash', '-c', 'read -r line; echo "$line"'], true);
      const stream = await container.attach({ stream: true, stdin: true, stdout: true, hijack: true });
      await container.start();
      await pause(300);
      const begin = performance.now();
      const first = new Promise((resolve) => stream.once('data', resolve));
      stream.write('x\n');
      await first;
      const took = performance.now() - begin;
      await container.remove({ force: true, v: true });
      return took;
    },
  };
}

export function dockerTask(id: string, script: string): Task {
  return { id, script, shell: 'bash', env: {}, path: [], network: 'default', limits: {}, docker: false };
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
