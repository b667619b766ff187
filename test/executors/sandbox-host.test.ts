/** What the sandbox executor does outside its sandboxes: the death of the worker, remains, limits, mounts. */
import { spawn, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { closeSync, openSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { build } from 'esbuild';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { basesOf, findCgroups } from '../../src/executors/sandbox/cgroups.ts';
import { copyOutput } from '../../src/executors/sandbox/copy-output.ts';
import { copyEtc } from '../../src/executors/sandbox/etc.ts';
import { createSandboxExecutor, findBubblewrap } from '../../src/executors/sandbox/executor.ts';
import { createPipes } from '../../src/executors/sandbox/pipes.ts';
import { descendantsOf, untilGone } from '../../src/executors/sandbox/process-tree.ts';
import { removeTree } from '../../src/executors/remove-tree.ts';
import { checkMounts } from '../../src/executors/sandbox/root.ts';
import type { Starter } from '../../src/executors/sandbox/starter.ts';
import { createStarters } from '../../src/executors/sandbox/starters.ts';
import { hostsOf } from '../../src/executors/sandbox/services.ts';
import { Socket } from 'node:net';
import { contextOf, openJob, recordOutput } from './conformance/job.ts';

const FORGOTTEN = 60;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'impgem-host-'));
});
afterEach(() => removeTree(folder));

interface StartedWorker {
  pid: number;
  lines: AsyncIterator<string>;
  kill: () => Promise<void>;
}

/** A worker of its own that runs one step, and prints the step's output. */
async function startWorker(script: string): Promise<StartedWorker> {
  const bundle = join(folder, 'worker.mjs');
  await mkdir(join(folder, 'workspace'));
  await mkdir(join(folder, 'home'));
  await build({
    stdin: {
      contents: `
        import { createSandboxExecutor } from './src/executors/sandbox/executor.ts';
        const executor = createSandboxExecutor({ mounts: [], limits: { pids: 64, memory: 268435456 } });
        const job = await executor.prepare({ owner: { run: 'killed', job: 'a', attempt: 1 }, folder: ${JSON.stringify(folder)},
          ready: Promise.resolve(), image: '', trusted: false, note: () => undefined });
        await job.start({ id: '0', script: ${JSON.stringify(script)}, shell: 'bash', env: {}, path: [], network: 'default',
          limits: {}, docker: false }, { write: async (bytes) => void process.stdout.write(bytes) },
          { signal: new AbortController().signal });`,
      resolveDir: process.cwd(),
      loader: 'ts',
    },
    bundle: true,
    platform: 'node',
    format: 'esm',
    outfile: bundle,
    logLevel: 'error',
  });
  // A file of ours that the worker's parent forgot to close. (Node closes low numbers itself.)
  const forgotten = openSync(import.meta.filename, 'r');
  const stdio: StdioOptions = ['ignore', 'pipe', 'inherit'];
  while (stdio.length < FORGOTTEN) stdio.push('ignore');
  const child = spawn(process.execPath, [bundle], { stdio: [...stdio, forgotten] });
  closeSync(forgotten);
  const lines = createInterface({ input: child.stdout as Readable })[Symbol.asyncIterator]();
  return {
    pid: child.pid ?? 0,
    lines,
    kill: async () => {
      child.kill('SIGKILL');
      if (child.signalCode === null) await once(child, 'exit');
    },
  };
}

describe('sandbox and its worker', () => {
  it('dies with a worker that is killed, and what is left is reaped', async () => {
    const worker = await startWorker(
      `trap "" TERM HUP INT; setsid sleep 1000 & readlink /proc/self/fd/${FORGOTTEN}; echo $$; sleep 1000`,
    );
    onTestFinished(worker.kill);
    // The forgotten descriptor does not reach the step.
    expect((await worker.lines.next()).value).toBe('/dev/null');
    await worker.lines.next();
    const ours = await bubblewrapsOf(folder);
    expect(ours.length).toBeGreaterThan(0);
    // What serves the network of its job, too.
    const helpers = await descendantsOf(worker.pid);
    const names = await Promise.all(helpers.map((pid) => readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')));
    expect(names).toContain('slirp4netns\n');
    await worker.kill();
    await Promise.all([...ours, ...helpers].map(untilGone));
    const executor = createSandboxExecutor({ mounts: [], limits: {} });
    expect(await executor.reap(() => true)).toBeGreaterThan(0);
    expect(await executor.reap(() => true)).toBe(0);
    await executor.close();
  });

  it('takes down what it shares when it closes', async () => {
    const before = await readdir('/dev/shm');
    const executor = createSandboxExecutor({ mounts: [], limits: { pids: 32 } });
    const job = await openJob(executor, '');
    await job.run('true');
    await job.close();
    await executor.close();
    const mine = (await readdir('/dev/shm')).filter((name) => name.startsWith(`impgem-sandbox-${process.pid}-`));
    expect(mine.filter((name) => !before.includes(name))).toEqual([]);
  });

  it('says what it is', async () => {
    expect(findBubblewrap()).toMatch(/^\/.*bwrap$/);
    const executor = createSandboxExecutor({ mounts: [], limits: {} });
    expect(await executor.describe()).toMatch(/^sandbox: bubblewrap \d+\.\d+\.\d+; limits of /);
    await executor.close();
  });

  it('refuses what needs an engine', async () => {
    const executor = createSandboxExecutor({ mounts: [], limits: {} });
    const job = await openJob(executor, '');
    const { signal } = new AbortController();
    await expect(job.run('true', { docker: true })).rejects.toMatchObject({ code: 'docker-needs-engine' });
    const service = { name: 'redis', image: 'redis:7', env: {} };
    await expect(job.sandbox.startService(service, recordOutput(), { signal })).rejects.toMatchObject({
      code: 'service-needs-run',
    });
    const named = { name: 'a\n1.2.3.4 github.com', run: 'true', env: {} };
    await expect(job.sandbox.startService(named, recordOutput(), { signal })).rejects.toMatchObject({
      code: 'service-name-invalid',
    });
    await job.close();
    await executor.close();
  });

  it('does not start with a mount that opens or shadows the sandbox', async () => {
    const bad = [
      'relative',
      '/',
      '/proc',
      '/proc/sys',
      '/dev/shm',
      '/etc',
      '/workspace/x',
      '/tmp/../impgem',
      '/no/such',
    ];
    for (const mount of bad) {
      expect(() => checkMounts([mount]), mount).toThrow(expect.objectContaining({ code: 'sandbox-mount-invalid' }));
      const executor = createSandboxExecutor({ mounts: [mount], limits: {} });
      const context = await contextOf('', []);
      await expect(executor.prepare(context)).rejects.toMatchObject({ code: 'sandbox-mount-invalid' });
      await rm(context.folder, { recursive: true });
      await executor.close();
    }
    expect(checkMounts([`${folder}/`, '/etc/hostname'])).toEqual([folder, '/etc/hostname']);
  });
});

/** Bubblewraps whose step has a workspace in this folder. */
async function bubblewrapsOf(parent: string): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const mine = await Promise.all(
    pids.map(async (pid) => {
      const mounts = await readFile(`/proc/${pid}/mountinfo`, 'utf8').catch(() => '');
      return mounts.includes(`${parent}/workspace /workspace`) ? [Number(pid)] : [];
    }),
  );
  return mine.flat();
}

describe('starters', () => {
  it("that could not be made ahead are in nobody's way when their place is needed", async () => {
    const made = (): Starter => ({
      group: undefined,
      start: () => Promise.resolve(0),
      isAlive: () => true,
      close: () => Promise.resolve(),
    });
    const starters = createStarters(({ pids }) =>
      pids === 0 ? Promise.reject(new Error('no more processes')) : Promise.resolve(made()),
    );
    starters.warm({ pids: 0 });
    for (let pids = 1; pids <= 8; pids++) await starters.giveBack(made(), { pids });
    await starters.close();
  });
});

describe('copy of /etc', () => {
  it('has what tools need and nothing that is not for everyone', async () => {
    const etc = join(folder, 'etc');
    await copyEtc(etc, ['/etc/hostname']);
    const names = await readdir(etc);
    expect(names).toEqual(
      expect.arrayContaining(['passwd', 'group', 'hosts', 'nsswitch.conf', 'resolv.conf', 'hostname']),
    );
    for (const name of ['shadow', 'gshadow', 'sudoers', 'ssh', 'docker', 'redis', 'npmrc', 'machine-id-x']) {
      expect(names).not.toContain(name);
    }
    expect(await readdir(join(etc, 'ssl'))).not.toContain('private');
  });
});

describe('output of a sandbox', () => {
  it('ends although someone outside holds the pipe open', async () => {
    const [pipe] = await createPipes(folder).take(1);
    const output = recordOutput();
    const copy = copyOutput(new Socket({ fd: pipe!.readEnd, readable: true, writable: false }), output);
    const writer = new Socket({ fd: pipe!.writeEnd, readable: false, writable: true });
    writer.write('all of it');
    await copy.finish();
    expect(output.text()).toBe('all of it');
    writer.destroy();
  });
});

describe('removal of folders', () => {
  it.each([false, true])('removes what has no permissions, and follows no link (dead: %s)', async (dead) => {
    const kept = join(folder, 'kept');
    await writeFile(kept, 'kept');
    const tree = join(folder, 'tree');
    await mkdir(join(tree, 'a', 'b'), { recursive: true, mode: 0o700 });
    await symlink(folder, join(tree, 'a', 'up'));
    await mkdir(join(tree, 'closed'), { mode: 0o000 });
    await removeTree(tree, { dead });
    await removeTree(tree, { dead });
    expect(await readdir(folder)).toEqual(['kept']);
  });

  it('removes many files and deep folders that are dead as well', async () => {
    const tree = join(folder, 'tree');
    await mkdir(join(tree, ...Array.from({ length: 20 }, () => 'd'.repeat(100))), { recursive: true });
    await removeTree(tree, { dead: true });
    await mkdir(tree);
    for (let file = 0; file < 100; file++) await writeFile(join(tree, String(file)), '');
    await removeTree(tree, { dead: true });
    expect(await readdir(folder)).toEqual([]);
  });
});

describe('hosts file', () => {
  it('has the services on the loopback', () => {
    expect(hostsOf('127.0.0.1 localhost', ['db', 'web'])).toBe('127.0.0.1 localhost\n127.0.0.1\tdb\n127.0.0.1\tweb\n');
  });
});

describe('control groups', () => {
  it('are found in version 1, below our own', async () => {
    await mkdir(join(folder, 'memory', 'outer', 'own'), { recursive: true });
    await mkdir(join(folder, 'cpu'));
    const mounts = `30 25 0:1 / ${folder}/memory rw - cgroup cgroup rw,memory
31 25 0:2 / ${folder}/cpu rw - cgroup cgroup rw,cpu,cpuacct
32 25 0:3 / ${folder}/freezer rw - cgroup cgroup rw,freezer`;
    expect(basesOf(mounts, '4:memory:/outer/own\n3:cpu,cpuacct:/\n2:freezer:/')).toEqual([
      { folder: join(folder, 'memory/outer/own'), controllers: ['memory'], version: 1 },
      { folder: join(folder, 'cpu'), controllers: ['cpu'], version: 1 },
    ]);
  });

  it('are found in version 2, and where an outer container shows a part only', async () => {
    await mkdir(join(folder, 'unified', 'job'), { recursive: true });
    await writeFile(join(folder, 'unified', 'job', 'cgroup.controllers'), 'cpuset cpu memory pids\n');
    const mounts = `30 25 0:1 /docker/abc ${folder}/unified rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate`;
    expect(basesOf(mounts, '0::/docker/abc/job\n')).toEqual([
      { folder: join(folder, 'unified/job'), controllers: ['memory', 'pids', 'cpu'], version: 2 },
    ]);
  });

  it('are beside the worker that stepped aside for them, not below it', async () => {
    const files = { 'cgroup.controllers': 'cpu memory pids\n', 'impgem-worker/cgroup.controllers': 'pids\n' };
    for (const [name, text] of Object.entries(files)) {
      await mkdir(dirname(join(folder, 'own', name)), { recursive: true });
      await writeFile(join(folder, 'own', name), text);
    }
    const bases = [{ folder: join(folder, 'own'), controllers: ['memory', 'pids', 'cpu'], version: 2 }];
    const mount = (point: string) => `30 25 0:1 / ${point} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate`;
    expect(basesOf(mount(folder), '0::/own/impgem-worker\n')).toEqual(bases);
    expect(basesOf(mount(join(folder, 'own')), '0::/impgem-worker\n')).toEqual(bases);
  });

  it('are looked for once', () => {
    expect(findCgroups()).toBe(findCgroups());
  });

  it('are not found where there are none', () => {
    expect(basesOf('25 1 0:5 / / rw - ext4 /dev/vda rw', '0::/\n')).toEqual([]);
  });
});
