import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Figures, median, printTable } from './report.ts';

const ROUNDS = 3;

/** `impgem up` on a fresh data folder: time to /readyz, and resident memory of all its processes once it is quiet. */
export async function benchIdle(): Promise<Figures> {
  const ready: number[] = [];
  const memory: number[] = [];
  const share: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const folder = await mkdtemp(join(tmpdir(), 'impgem-idle-'));
    const listen = `127.0.0.1:${await freePort()}`;
    const startedAt = performance.now();
    const up = spawn(process.execPath, ['dist/impgem.js', 'up'], {
      stdio: 'ignore',
      env: { PATH: process.env['PATH'], IMPGEM_DATA: folder, IMPGEM_LISTEN: listen, IMPGEM_EXECUTOR: 'sandbox' },
    });
    try {
      while (!(await fetch(`http://${listen}/readyz`).catch(() => undefined))?.ok) await sleep(10);
      ready.push(performance.now() - startedAt);
      // Long enough for the worker to have started as well and for garbage to have been collected.
      await sleep(8000);
      const pids = await tree(up.pid ?? 0);
      const sizes = await Promise.all(pids.map(memoryOf));
      memory.push(sizes.reduce((sum, one) => sum + one.rss, 0));
      share.push(sizes.reduce((sum, one) => sum + one.pss, 0));
      if (round === 0)
        for (const one of sizes) process.stderr.write(`  ${one.name.padEnd(40)} ${one.rss.toFixed(0)} MB RSS\n`);
    } finally {
      await stop(up);
      await rm(folder, { recursive: true, force: true });
    }
  }
  const figures = { rss_mb: median(memory), pss_mb: median(share), ready_ms: median(ready) };
  printTable('idle: impgem up with its private Redis', [
    { what: 'RSS of all processes', value: figures.rss_mb, unit: 'MB', bar: '<= 200 MB', ok: figures.rss_mb <= 200 },
    { what: 'the same, shared pages counted once', value: figures.pss_mb, unit: 'MB' },
    { what: 'start to /readyz', value: figures.ready_ms, unit: 'ms', bar: '<= 1500 ms', ok: figures.ready_ms <= 1500 },
  ]);
  return figures;
}

const sleep = (ms: number): Promise<void> => new Promise((wake) => setTimeout(wake, ms));

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  await gone;
}

/** The process and all below it. */
async function tree(root: number): Promise<number[]> {
  const parents = new Map<number, number>();
  for (const name of await readdir('/proc')) {
    const stat = /^\d+$/.test(name) ? await readFile(`/proc/${name}/stat`, 'utf8').catch(() => undefined) : undefined;
    if (stat) parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
  }
  const found = [root];
  for (const pid of found) for (const [child, parent] of parents) if (parent === pid) found.push(child);
  return found;
}

async function memoryOf(pid: number): Promise<{ name: string; rss: number; pss: number }> {
  const [rollup, cmdline] = await Promise.all([
    readFile(`/proc/${pid}/smaps_rollup`, 'utf8'),
    readFile(`/proc/${pid}/cmdline`, 'utf8'),
  ]);
  const kb = (field: string): number => Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(rollup)?.[1] ?? 0);
  return { name: cmdline.split('\0').slice(0, 3).join(' ').slice(-40), rss: kb('Rss') / 1024, pss: kb('Pss') / 1024 };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
