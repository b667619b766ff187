/**
 * Steps in the sandbox executor beside bubblewrap itself with the same flags, in turns in the same run: ten `true` steps
 * from prepare to dispose, and one step that prints 1 GB to an Output that counts beside the same through a bare pipe.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Executor, JobContext, Output, Task } from '../src/executors/executor.ts';
import { requireBubblewrap } from '../src/executors/sandbox/bubblewrap.ts';
import { createSandboxExecutor } from '../src/executors/sandbox/executor.ts';
import { closeHost, openHost } from '../src/executors/sandbox/host.ts';
import { composeRoot, NAMESPACES } from '../src/executors/sandbox/root.ts';
import { type Figures, median, printTable } from './report.ts';

const STEPS = 10;
/** Of the time of bubblewrap itself. */
const BAR = 1.5;
const ROUNDS = 11;
const LOG_ROUNDS = 3;
const GIGABYTE = 1024 ** 3;
const PRINT_GIGABYTE = `exec head -c ${GIGABYTE} /dev/zero`;
const LIMITS = { memory: 4 * GIGABYTE, cpu: 2, pids: 2048 };

const noSignal = new AbortController().signal;
const nowhere: Output = { write: () => Promise.resolve() };

export async function benchSteps(): Promise<Figures> {
  const executor = createSandboxExecutor({ mounts: [], limits: LIMITS });
  const host = await openHost({ mounts: [], limits: LIMITS });
  const folder = await mkdtemp(join(tmpdir(), 'impgem-bench-'));
  try {
    const flags = await rawFlags(host.root, folder);
    const ours: number[] = [];
    const raw: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      raw.push(await timed(() => rawSteps(flags)));
      ours.push(await timed(() => executorSteps(executor, folder)));
    }
    const oursLog: number[] = [];
    const rawLog: number[] = [];
    for (let round = 0; round < LOG_ROUNDS; round += 1) {
      rawLog.push(await timed(() => rawLogStep(flags)));
      oursLog.push(await timed(() => executorLogStep(executor, folder)));
    }
    const figures = {
      tenStepsMs: median(ours),
      tenRawBwrapMs: median(raw),
      ratio: median(ours) / median(raw),
      logMBps: GIGABYTE / 1e3 / median(oursLog),
      rawLogMBps: GIGABYTE / 1e3 / median(rawLog),
      rssMB: process.memoryUsage.rss() / 1e6,
    };
    printTable('steps: the sandbox executor beside bubblewrap itself', [
      { what: 'ten steps, prepare to dispose', value: figures.tenStepsMs, unit: 'ms' },
      { what: 'ten times bubblewrap', value: figures.tenRawBwrapMs, unit: 'ms' },
      { what: 'ratio', value: figures.ratio, unit: '', bar: `<= ${BAR}`, ok: figures.ratio <= BAR },
      { what: 'log of 1 GB', value: figures.logMBps, unit: 'MB/s' },
      { what: 'the same through a bare pipe', value: figures.rawLogMBps, unit: 'MB/s' },
      { what: 'RSS', value: figures.rssMB, unit: 'MB' },
    ]);
    return figures;
  } finally {
    await executor.close();
    await closeHost(host);
    await rm(folder, { recursive: true, force: true });
  }
}

async function timed(work: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

async function rawFlags(root: Parameters<typeof composeRoot>[0], folder: string): Promise<string[]> {
  const [workspace, home, step] = ['workspace', 'home', 'step'].map((name) => join(folder, 'raw', name));
  for (const path of [workspace, home, step]) await mkdir(path!, { recursive: true });
  const flags = composeRoot(root, {
    workspace: workspace!,
    home: home!,
    step: step!,
    network: 'default',
    limits: LIMITS,
  });
  return [...NAMESPACES, ...flags, '--', '/bin/bash', '--noprofile', '--norc', '-eo', 'pipefail', '-c'];
}

async function rawSteps(flags: string[]): Promise<void> {
  for (let step = 0; step < STEPS; step += 1) {
    const child = spawn(requireBubblewrap(), [...flags, 'true'], { stdio: 'ignore', env: {} });
    await once(child, 'exit');
  }
}

async function rawLogStep(flags: string[]): Promise<void> {
  const child = spawn(requireBubblewrap(), [...flags, PRINT_GIGABYTE], {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: {},
  });
  let length = 0;
  child.stdout.on('data', (chunk: Buffer) => (length += chunk.length));
  await once(child, 'close');
  expectWhole(length);
}

async function executorSteps(executor: Executor, folder: string): Promise<void> {
  const job = await executor.prepare(await newJob(folder));
  for (let step = 0; step < STEPS; step += 1) {
    // As the job runner does: what comes next is known while a step runs.
    job.expect(step + 1 < STEPS ? [newTask(String(step + 1), 'true')] : []);
    const { code } = await job.start(newTask(String(step), 'true'), nowhere, { signal: noSignal });
    if (code !== 0) throw new Error(`a step ended with ${code}`);
  }
  await job.dispose();
}

async function executorLogStep(executor: Executor, folder: string): Promise<void> {
  const job = await executor.prepare(await newJob(folder));
  let length = 0;
  const counting: Output = {
    write: (bytes) => {
      length += bytes.length;
      return Promise.resolve();
    },
  };
  await job.start(newTask('log', PRINT_GIGABYTE), counting, { signal: noSignal });
  await job.dispose();
  expectWhole(length);
}

function expectWhole(length: number): void {
  if (length !== GIGABYTE) throw new Error(`${length} bytes of log instead of ${GIGABYTE}`);
}

let jobs = 0;

async function newJob(parent: string): Promise<JobContext> {
  jobs += 1;
  const folder = join(parent, `job-${jobs}`);
  for (const name of ['workspace', 'home']) await mkdir(join(folder, name), { recursive: true });
  const owner = { run: `bench-${process.pid}`, job: String(jobs), attempt: 1 };
  return { owner, folder, ready: Promise.resolve(), image: 'none', trusted: false, note: () => undefined };
}

function newTask(id: string, script: string): Task {
  return { id, script, shell: 'bash', env: {}, path: [], network: 'default', limits: {}, docker: false };
}
