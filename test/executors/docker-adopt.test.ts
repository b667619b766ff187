/** A build goes on although its worker dies, and what nobody goes on with is cleared away. */
import { execa } from 'execa';
import { existsSync } from 'node:fs';
import { mkdir, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { LostJobError } from '../../src/errors.ts';
import { createDockerExecutor } from '../../src/executors/docker/docker-executor.ts';
import { recordStarted } from '../../src/executors/docker/slot-record.ts';
import { MAKER_FILE, newSlotId } from '../../src/executors/docker/slot.ts';
import type { Executor, JobContext } from '../../src/executors/executor.ts';
import { processMark } from '../../src/process-mark.ts';
import { processStart } from '../../src/process-start.ts';
import { BASE_IMAGE, type EngineBench, openEngineBench } from '../support/docker-engine.ts';
import { killWorker, startDoomedWorker } from '../support/docker-job.ts';
import { contextOf, recordOutput, taskOf } from './conformance/job.ts';

const never = new AbortController().signal;
/** Waits, in the middle of its output, for a file in the workspace. */
const LONG = `for i in {1..500}; do echo "line $i"; done
until [ -e go ]; do sleep 0.02; done
for i in {501..1000}; do echo "line $i"; done
exit 3`;
const WHOLE = Array.from({ length: 1000 }, (_, i) => `line ${i + 1}\n`).join('');

let bench: EngineBench;
let executor: Executor;
let context: JobContext;

beforeEach(async () => {
  bench = await openEngineBench();
  executor = await createDockerExecutor(bench.options);
  context = await contextOf(BASE_IMAGE, []);
});
afterEach(async () => {
  await executor.reap(() => false);
  await executor.close();
  expect(await bench.leftovers()).toEqual([]);
  await rm(context.folder, { recursive: true, force: true });
  await bench.close();
});

async function doomed() {
  const { owner, folder, image, trusted } = context;
  const task = taskOf(LONG);
  const worker = await startDoomedWorker({ options: bench.options, context: { owner, folder, image, trusted }, task });
  return { worker, task };
}

const go = () => execa('touch', [`${context.folder}/workspace/go`]);

it('goes on with a step whose worker was killed: every byte once, the exit code, the steps after it', async () => {
  const { worker, task } = await doomed();
  await killWorker(worker);
  const adopted = await executor.adopt(context);
  expect(adopted?.started).toEqual([task.id]);
  const output = recordOutput();
  const resumed = adopted!.resume(task.id, output, { signal: never });
  await output.until('line 500\n');
  await go();
  expect(await resumed).toMatchObject({ code: 3 });
  expect(output.text()).toBe(WHOLE);
  const after = recordOutput();
  expect(await adopted!.sandbox.start(taskOf('echo after; ls'), after, { signal: never })).toMatchObject({ code: 0 });
  expect(after.text()).toBe('after\ngo\n');
  await adopted!.sandbox.dispose();
});

it('removes with the job what the engine was still making for the worker before', async () => {
  const { worker, task } = await doomed();
  await killWorker(worker);
  const adopted = await executor.adopt(context);
  const resumed = adopted!.resume(task.id, recordOutput(), { signal: never });
  const [step = ''] = await containersOf(task.id);
  const { stdout } = await execa('docker', ['inspect', '-f', '{{json .Config.Labels}}', step]);
  const labels = Object.entries(JSON.parse(stdout) as Record<string, string>);
  await execa('docker', ['create', ...labels.flatMap(([name, value]) => ['-l', `${name}=${value}`]), BASE_IMAGE]);
  await go();
  await resumed;
  await adopted!.sandbox.dispose();
  await executor.close();
  expect(await bench.leftovers()).toEqual([]);
  executor = await createDockerExecutor(bench.options);
});

it('takes output and exit code of a step that ended while no worker was there', async () => {
  const { worker, task } = await doomed();
  await killWorker(worker);
  await go();
  await execa('docker', ['wait', ...(await containersOf(task.id))]);
  const adopted = await executor.adopt(context);
  const output = recordOutput();
  expect(await adopted!.resume(task.id, output, { signal: never })).toMatchObject({ code: 3 });
  expect(output.text()).toBe(WHOLE);
  await adopted!.sandbox.dispose();
});

it('says that a step is lost when its container is gone', async () => {
  const { worker, task } = await doomed();
  await killWorker(worker);
  await execa('docker', ['rm', '-f', ...(await containersOf(task.id))]);
  const adopted = await executor.adopt(context);
  const resumed = adopted!.resume(task.id, recordOutput(), { signal: never });
  await expect(resumed).rejects.toMatchObject({ name: 'ExecutorLostError', gone: true });
  await adopted!.sandbox.dispose();
});

it('adopts nothing of which the network is gone, and no other attempt', async () => {
  const { worker } = await doomed();
  await killWorker(worker);
  expect(await executor.adopt({ ...context, owner: { ...context.owner, attempt: 2 } })).toBeUndefined();
  await execa('docker', ['rm', '-f', `impgem-job.${context.owner.run}.${context.owner.job}.1`]);
  expect(await executor.adopt(context)).toBeUndefined();
});

it('lets go of a running step, and another worker goes on with it', async () => {
  const job = await executor.prepare(context);
  const task = taskOf(LONG);
  const first = recordOutput();
  const abandoned = job.start(task, first, { signal: never });
  abandoned.catch(() => undefined);
  await first.until('line 500\n');
  await job.detach();
  const next = await createDockerExecutor({ ...bench.options, workerName: 'next' });
  const adopted = await next.adopt(context);
  const output = recordOutput();
  const resumed = adopted!.resume(task.id, output, { signal: never });
  await go();
  expect(await resumed).toMatchObject({ code: 3 });
  expect(output.text()).toBe(WHOLE);
  await adopted!.sandbox.dispose();
  await next.close();
});

it('leaves a step alone that prints while another worker takes it', async () => {
  const job = await executor.prepare(context);
  const script = 'i=0; until [ -e go ]; do echo "line $i"; i=$((i+1)); sleep 0.01; done; echo "lines: $i"; exit 3';
  const task = taskOf(script);
  const first = recordOutput();
  let lost = false;
  const write = (bytes: Buffer) => (lost ? Promise.reject(new LostJobError('the job')) : first.write(bytes));
  const abandoned = job.start(task, { write }, { signal: never });
  await first.until('line 5\n');
  // As its log does, from the moment on when it is told that it must stop.
  lost = true;
  await expect(abandoned).rejects.toBeInstanceOf(LostJobError);
  await job.detach();
  const adopted = await executor.adopt(context);
  const output = recordOutput();
  const resumed = adopted!.resume(task.id, output, { signal: never });
  await output.until('line 10\n');
  await go();
  expect(await resumed).toMatchObject({ code: 3 });
  const [, count] = /lines: (\d+)\n$/.exec(output.text()) ?? [];
  const lines = Array.from({ length: Number(count) }, (_, i) => `line ${i}\n`).join('');
  expect(output.text()).toBe(`${lines}lines: ${count}\n`);
  await adopted!.sandbox.dispose();
});

it('says of a step that never had its script that it was not started, and can start it', async () => {
  const job = await executor.prepare(context);
  const task = taskOf('echo ran');
  job.expect([task]);
  await expect.poll(() => containersOf(task.id)).toHaveLength(1);
  const [containerId = ''] = await containersOf(task.id);
  // Where the worker dies between the record and the script: the container's stdin ends.
  recordStarted(context.folder, { task: task.id, containerId, number: 0, nonce: 'nonce' });
  await job.detach();
  const adopted = await executor.adopt(context);
  const resumed = adopted!.resume(task.id, recordOutput(), { signal: never });
  await expect(resumed).rejects.toMatchObject({ code: 'task-not-started' });
  const output = recordOutput();
  expect(await adopted!.sandbox.start(task, output, { signal: never })).toMatchObject({ code: 0 });
  expect(output.text()).toBe('ran\n');
  await adopted!.sandbox.dispose();
});

it('ends a step that waits for ever for a script that its engine lost, and can start it', async () => {
  const job = await executor.prepare(context);
  const task = taskOf('echo ran');
  job.expect([task]);
  await expect.poll(() => containersOf(task.id)).toHaveLength(1);
  const [containerId = ''] = await containersOf(task.id);
  recordStarted(context.folder, { task: task.id, containerId, number: 0, nonce: 'nonce' });
  // Its stdin stays open, as it does when an engine with live-restore is killed.
  const next = await createDockerExecutor({ ...bench.options, workerName: 'next' });
  const adopted = await next.adopt(context);
  const resumed = adopted!.resume(task.id, recordOutput(), { signal: never });
  await expect(resumed).rejects.toMatchObject({ code: 'task-not-started' });
  const output = recordOutput();
  expect(await adopted!.sandbox.start(task, output, { signal: never })).toMatchObject({ code: 0 });
  expect(output.text()).toBe('ran\n');
  await adopted!.sandbox.dispose();
  await job.detach();
  await next.close();
});

it('reaps what no live job owns, and nothing of a live one', async () => {
  const { worker } = await doomed();
  await killWorker(worker);
  expect(await executor.reap((owner) => owner.run === context.owner.run)).toBe(0);
  expect(await executor.adopt(context)).toBeDefined();
  const other = await createDockerExecutor(bench.options);
  expect(await other.reap(() => false)).toBe(1);
  expect(await bench.leftovers()).toEqual([]);
  await other.close();
});

/** `MACHINE.PID.START`, of another process than this one. */
const markOf = (pid: number, start: string) => `${processMark().split('.')[0]}.${pid}.${start}`;

it('reaps the warm slots of dead processes, and none of one that lives, whatever name its worker bears', async () => {
  const create = (slot: string, mark: string): Promise<unknown> => {
    const labels = { instance: bench.options.instance, worker: bench.options.workerName, slot, process: mark };
    const options = Object.entries(labels).flatMap(([name, value]) => ['--label', `dev.impgem.${name}=${value}`]);
    return execa('docker', ['network', 'create', ...options, `impgem-${slot}`]);
  };
  const [dead, live] = [newSlotId(), newSlotId()];
  await create(dead, markOf(process.ppid, '1'));
  await create(live, markOf(process.ppid, processStart(process.ppid)));
  expect(await executor.reap(() => false)).toBe(1);
  expect(await bench.leftovers()).toEqual([`impgem-${live}`]);
  await execa('docker', ['network', 'rm', `impgem-${live}`]);
});

it('removes the folder of a warm slot whose process died before the engine heard of it', async () => {
  const make = async (name: string, mark: string): Promise<string> => {
    const folder = join(bench.options.folder, name);
    await mkdir(join(folder, 'workspace'), { recursive: true });
    await writeFile(join(folder, MAKER_FILE), mark);
    return folder;
  };
  const dead = await make(newSlotId(), markOf(process.ppid, '1'));
  const live = await make(newSlotId(), markOf(process.ppid, processStart(process.ppid)));
  await executor.reap(() => false);
  expect([dead, live].map((folder) => existsSync(folder))).toEqual([false, true]);
});

it('removes the folder of a warm slot whose removal was cut off', async () => {
  const make = async (agoMs: number): Promise<string> => {
    const folder = join(bench.options.folder, newSlotId());
    await mkdir(join(folder, 'docker'), { recursive: true });
    const at = new Date(Date.now() - agoMs);
    await utimes(folder, at, at);
    return folder;
  };
  const [old, fresh] = [await make(90_000), await make(0)];
  await executor.reap(() => false);
  expect([old, fresh].map((folder) => existsSync(folder))).toEqual([false, true]);
});

it('leaves containers alone that set rules or remove files, and folders of which the engine knows nothing', async () => {
  const folder = join(bench.options.folder, 'young');
  await mkdir(folder, { recursive: true });
  const { instance, workerName } = bench.options;
  const labels = [`instance=${instance}`, `worker=${workerName}`, 'slot=../slots'];
  const options = labels.flatMap((label) => ['--label', `dev.impgem.${label}`]);
  const { stdout: id } = await execa('docker', [
    'run',
    '-d',
    '--network',
    'none',
    ...options,
    BASE_IMAGE,
    'sleep',
    '60',
  ]);
  expect(await executor.reap(() => false)).toBe(0);
  expect((await execa('docker', ['rm', '-f', id])).stdout).toBe(id);
  expect(existsSync(folder)).toBe(true);
});

async function containersOf(step: string): Promise<string[]> {
  const filter = (label: string) => ['--filter', `label=dev.impgem.${label}`];
  const args = ['ps', '-aq', '--no-trunc', ...filter(`instance=${bench.options.instance}`), ...filter(`step=${step}`)];
  return (await execa('docker', args)).stdout.split('\n').filter(Boolean);
}
