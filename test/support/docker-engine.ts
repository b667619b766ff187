/** A real Docker engine for the tests: the one of this machine, started by the same script as in CI when there is none. */
import { execa } from 'execa';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DockerOptions } from '../../src/executors/docker/options.ts';

/** Has bash, git, curl, perl and util-linux. */
export const BASE_IMAGE = 'debian:bookworm-slim';

let started: Promise<void> | undefined;

/** Settles when an engine answers that has BASE_IMAGE. Quick when that is so already. */
export function startDockerEngine(): Promise<void> {
  started ??= execa('.ci/docker-engine.sh', { stdin: 'ignore' }).then(() => undefined);
  return started;
}

/** Everything of the installation with this data folder: a worker that stops leaves its warm containers for the next start. */
export async function removeInstallation(data: string): Promise<void> {
  const instance = createHash('sha256').update(data).digest('hex').slice(0, 12);
  const filter = ['--filter', `label=dev.impgem.instance=${instance}`];
  for (const [list, remove] of [
    [
      ['ps', '-aq'],
      ['rm', '-f', '-v'],
    ],
    [
      ['network', 'ls', '-q'],
      ['network', 'rm'],
    ],
  ] as const) {
    const found = (await execa('docker', [...list, ...filter])).stdout.split('\n').filter(Boolean);
    if (found.length > 0) await execa('docker', [...remove, ...found]);
  }
}

export interface EngineBench {
  options: DockerOptions;
  /** Names of containers and networks of this bench that exist now. */
  leftovers: () => Promise<string[]>;
  close: () => Promise<void>;
}

/** Options of an installation of its own on the engine, so that tests see only what they made. */
export async function openEngineBench(more: Partial<DockerOptions> = {}): Promise<EngineBench> {
  await startDockerEngine();
  const folder = await mkdtemp(join(tmpdir(), 'impgem-engine-'));
  const instance = `test-${randomBytes(6).toString('hex')}`;
  const filter = ['--filter', `label=dev.impgem.instance=${instance}`];
  const engine = more.host === undefined ? [] : ['-H', more.host];
  const list = async (...args: string[]) =>
    (await execa('docker', [...engine, ...args])).stdout.split('\n').filter(Boolean);
  return {
    options: {
      limits: { memory: 512 * 1024 * 1024, cpu: 2, pids: 256 },
      pullPolicy: 'missing',
      instance,
      workerName: 'test',
      folder: join(folder, 'slots'),
      logLimit: 256 * 1024 * 1024,
      warmSlots: 0,
      image: BASE_IMAGE,
      ...more,
    },
    leftovers: async () => [
      ...(await list('ps', '-a', ...filter, '--format', '{{.Names}}')),
      ...(await list('network', 'ls', ...filter, '--format', '{{.Name}}')),
      ...(await list('volume', 'ls', ...filter, '--format', '{{.Name}}')),
    ],
    close: async () => {
      await rm(folder, { recursive: true, force: true });
    },
  };
}
