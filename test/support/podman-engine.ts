/** Podman's Docker API, as root, with its own files and its own network, mounts and processes: when the first of those ends, all is gone. */
import { execa } from 'execa';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BASE_IMAGE, startDockerEngine } from './docker-engine.ts';

export interface PodmanEngine {
  /** As in DOCKER_HOST. */
  host: string;
  /** `docker ...` on it; gives stdout. */
  docker(...args: string[]): Promise<string>;
  /** As `nsenter --net=` takes it. */
  network: string;
  /** Removes everything of it. */
  stop(): Promise<void>;
}

const READY_MS = 60_000;

/** Has BASE_IMAGE. */
export async function startPodmanEngine(): Promise<PodmanEngine> {
  await startDockerEngine();
  const folder = await mkdtemp(join(tmpdir(), 'impgem-podman-'));
  const socket = join(folder, 'podman.sock');
  const host = `unix://${socket}`;
  const folders = ['root', 'runroot', 'tmpdir', 'network-config-dir'].map((name) => `--${name}=${join(folder, name)}`);
  // No systemd may be here; crun, which Podman would rather have, wants cgroups of version 2.
  const choices = ['--cgroup-manager=cgroupfs', '--runtime=runc', '--events-backend=file'];
  const service = ['podman', ...folders, ...choices, 'system', 'service', '--time=0', host];
  const apart = ['--net', '--mount', '--pid', '--mount-proc', '--fork', '--kill-child'];
  const log = createWriteStream(join(folder, 'podman.log'));
  await once(log, 'open');
  const child = spawn('unshare', [...apart, 'sh', '-c', 'ip link set lo up; "$@"', 'sh', ...service], {
    cwd: folder, // Where the kernel ends something for memory, Podman 4.3 leaves a file there.
    stdio: ['ignore', log, log],
  });

  const docker = async (...args: string[]): Promise<string> => (await execa('docker', ['-H', host, ...args])).stdout;

  const stop = async (): Promise<void> => {
    // Its cgroups go with its containers only.
    const containers = (await docker('ps', '-aq').catch(() => '')).split('\n').filter(Boolean);
    if (containers.length > 0) await docker('rm', '-f', ...containers).catch(() => undefined);
    await end(child);
    log.end();
    await rm(folder, { recursive: true, force: true, maxRetries: 10 });
  };

  const deadline = performance.now() + READY_MS;
  while (!(await docker('version').then(Boolean, () => false))) {
    if (child.exitCode !== null || performance.now() > deadline)
      throw new Error(
        `Podman did not get ready:\n${(await readFile(join(folder, 'podman.log'), 'utf8')).slice(-2000)}`,
      );
    await sleep(50);
  }
  const loading = execa('docker', ['-H', host, 'load', '-q'], { stdin: 'pipe' });
  const saving = execa('docker', ['save', BASE_IMAGE], { stdout: 'pipe', buffer: false });
  saving.stdout.pipe(loading.stdin);
  await Promise.all([saving, loading]);
  return {
    host,
    docker,
    network: `/proc/${String(child.pid)}/ns/net`,
    stop,
  };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}
