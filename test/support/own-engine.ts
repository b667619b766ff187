/** A Docker engine that a test may kill: its own files, its own network namespace (the packet filter's rules are shared otherwise). */
import { execa } from 'execa';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, existsSync } from 'node:fs';
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BASE_IMAGE, startDockerEngine } from './docker-engine.ts';

export interface OwnEngine {
  /** Whether its containers outlive its next life. */
  liveRestore: boolean;
  /** As in DOCKER_HOST. */
  host: string;
  /** `docker ...` on it; gives stdout. */
  docker(...args: string[]): Promise<string>;
  isUp(): boolean;
  pid(): number | undefined;
  /** KILL, of the engine alone: its containers are killed when it starts again, or live on with `liveRestore`. */
  kill(): Promise<void>;
  /** Settles when it answers. */
  start(): Promise<void>;
  /** Removes everything of it. */
  stop(): Promise<void>;
}

const READY_MS = 60_000;

/** Has BASE_IMAGE. `remap`: root of its containers is nobody outside. */
export async function startOwnEngine(
  options: { liveRestore?: boolean; pool?: string; args?: string[]; remap?: boolean } = {},
): Promise<OwnEngine> {
  await startDockerEngine();
  const folder = await mkdtemp(join(tmpdir(), 'impgem-own-engine-'));
  const host = `unix://${join(folder, 'docker.sock')}`;
  const pidFile = join(folder, 'dockerd.pid');
  // It outlives the engine, as the machine's network does.
  const network = spawn('unshare', ['--net', 'sh', '-c', 'ip link set lo up; echo up; exec sleep 2147483647'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(network.stdout, 'data');
  const log = createWriteStream(join(folder, 'dockerd.log'), { flags: 'a' });
  await once(log, 'open');
  let child: ChildProcess | undefined;

  const docker = async (...args: string[]): Promise<string> => (await execa('docker', ['-H', host, ...args])).stdout;

  const start = async (): Promise<void> => {
    const args = ['--data-root', join(folder, 'data'), '--exec-root', join(folder, 'exec'), '--pidfile', pidFile];
    // Each job has a network: more of them than the usual pools hold.
    const pool = ['--default-address-pool', options.pool ?? 'base=10.201.0.0/16,size=24'];
    const more = ['-H', host, ...pool, ...(engine.liveRestore ? ['--live-restore'] : []), ...(options.args ?? [])];
    const program = options.remap === true ? await remapped(folder) : ['dockerd'];
    const command = [`--net=/proc/${String(network.pid)}/ns/net`, ...program, ...args, ...more];
    const deadline = performance.now() + READY_MS;
    let started = spawn('nsenter', command, { stdio: ['ignore', log, log] });
    child = started;
    while (!(await answers(docker))) {
      if (started.exitCode !== null || performance.now() > deadline) {
        const said = await readFile(join(folder, 'dockerd.log'), 'utf8');
        // Killed while it made a network, engine 20.10 panics at every start until somebody removes what it knows of
        // networks: as docs/operations.md says. While containers live on it would have no network of its own either.
        const store = join(folder, 'data/network/files/local-kv.db');
        if (!/reservePools/.test(said.slice(-4000)) || !existsSync(store))
          throw new Error(`dockerd did not get ready:\n${said.slice(-2000)}`);
        await killServants(folder);
        await rm(store);
        started = spawn('nsenter', command, { stdio: ['ignore', log, log] });
        child = started;
      }
      await sleep(50);
    }
  };

  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const dying = child;
    child = undefined;
    if (!dying || dying.exitCode !== null || dying.signalCode !== null) return;
    const gone = once(dying, 'exit');
    dying.kill('SIGCONT');
    dying.kill(signal);
    await gone;
  };

  const engine: OwnEngine = {
    liveRestore: options.liveRestore === true,
    host,
    docker,
    isUp: () => child !== undefined,
    pid: () => child?.pid,
    async kill() {
      await end('SIGKILL');
      await containerdGone(join(folder, 'exec', 'containerd', 'containerd.pid'));
    },
    start,
    async stop() {
      // It gives back what its containers hold; where it cannot, the test has failed already, and is to say why.
      if (child?.exitCode !== null || child.signalCode !== null) await start().catch(() => undefined);
      const containers = (await docker('ps', '-aq').catch(() => '')).split('\n').filter(Boolean);
      // One that goes by itself meanwhile is an error to the client, and gone.
      if (containers.length > 0) await docker('rm', '-f', ...containers).catch(() => undefined);
      await end('SIGTERM');
      log.end();
      network.kill('SIGKILL');
      await killServants(folder);
      // An engine that was killed leaves its mounts.
      const mounts = (await readFile('/proc/mounts', 'utf8')).split('\n').map((line) => line.split(' ')[1] ?? '');
      for (const path of mounts.filter((mount) => mount.startsWith(folder)).reverse())
        await execa('umount', ['-l', path], { reject: false });
      await rm(folder, { recursive: true, force: true, maxRetries: 10 });
    },
  };
  await start();
  const loading = execa('docker', ['-H', host, 'load', '-q'], { stdin: 'pipe' });
  const saving = execa('docker', ['save', BASE_IMAGE], { stdout: 'pipe', buffer: false });
  saving.stdout.pipe(loading.stdin);
  await Promise.all([saving, loading]);
  await docker('run', '--rm', '--network', 'none', BASE_IMAGE, 'true');
  return engine;
}

/** Whose ids it takes stands in files of the machine, which it alone sees otherwise. */
async function remapped(folder: string): Promise<string[]> {
  const [users, groups] = [join(folder, 'subuid'), join(folder, 'subgid')];
  await Promise.all([writeFile(users, 'nobody:200000:65536\n'), writeFile(groups, 'nobody:200000:65536\n')]);
  // Below it are the layers, which they must reach.
  await chmod(folder, 0o711);
  const script = `for each in subuid subgid; do mount --bind "$1/$each" "/etc/$each"; done; shift; exec "$@"`;
  return ['unshare', '--mount', 'sh', '-ec', script, 'sh', folder, 'dockerd', '--userns-remap=nobody:65534'];
}

/** Shims of containers that an engine which was killed has lost sight of: they name its folder. */
async function killServants(folder: string): Promise<void> {
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name)))
    if ((await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')).includes(`${folder}/`))
      process.kill(Number(pid), 'SIGKILL');
}

/** It is told of the engine's death by the kernel; an engine that starts before it is gone would wait for it in vain. */
async function containerdGone(pidFile: string): Promise<void> {
  const pid = Number(await readFile(pidFile, 'utf8'));
  while (/^State:\s+[^Z]/m.test(await readFile(`/proc/${pid}/status`, 'utf8').catch(() => ''))) await sleep(10);
  await rm(pidFile, { force: true });
}

async function answers(docker: (...args: string[]) => Promise<string>): Promise<boolean> {
  try {
    await docker('version', '--format', '{{.Server.Version}}');
    return true;
  } catch {
    return false;
  }
}
