/** Jobs on the docker executor for tests that kill workers: in this process, or in one of their own. */
import { build } from 'esbuild';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createDockerExecutor } from '../../src/executors/docker/docker-executor.ts';
import type { DockerOptions } from '../../src/executors/docker/options.ts';
import type { JobContext, Task } from '../../src/executors/executor.ts';

export interface DoomedJob {
  options: DockerOptions;
  context: Pick<JobContext, 'owner' | 'folder' | 'image' | 'trusted'>;
  task: Task;
}

/** Runs a task as a worker would, in this process; `onOutput` is called with the first output. */
export async function runDoomedJob({ options, context, task }: DoomedJob, onOutput: () => void): Promise<void> {
  const executor = await createDockerExecutor(options);
  const job = await executor.prepare({ ...context, ready: Promise.resolve(), note: () => undefined });
  job.expect([task, { ...task, id: 'next' }]);
  const write = (): Promise<void> => {
    onOutput();
    return Promise.resolve();
  };
  await job.start(task, { write }, { signal: new AbortController().signal });
}

/** The same in a process of its own, so that it can be killed; settles when the task's first output has come. */
export async function startDoomedWorker(job: DoomedJob): Promise<ChildProcess> {
  const cache = 'node_modules/.cache';
  await mkdir(cache, { recursive: true });
  const folder = await mkdtemp(join(cache, 'doomed-'));
  const outfile = join(folder, 'worker.mjs');
  const main = `import { runDoomedJob } from './test/support/docker-job.ts';
await runDoomedJob(${JSON.stringify(job)}, () => process.send?.('output'));`;
  await build({
    stdin: { contents: main, resolveDir: process.cwd(), loader: 'ts' },
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    outfile,
    logLevel: 'error',
  });
  const worker = spawn(process.execPath, [outfile], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  worker.once('exit', () => void rm(folder, { recursive: true, force: true }));
  await Promise.race([
    once(worker, 'message'),
    once(worker, 'exit').then(() => Promise.reject(new Error('the worker ended before its task said anything'))),
  ]);
  return worker;
}

export async function killWorker(worker: ChildProcess): Promise<void> {
  const ended = once(worker, 'exit');
  worker.kill('SIGKILL');
  await ended;
}
