/** A build goes on although its worker dies, and what nobody goes on with is cleared away. */
import { execa } from 'execa';
import { rm } from 'node:fs/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createDockerExecutor } from '../../src/executors/docker/docker-executor.ts';
import type { Executor, JobContext } from '../../src/executors/executor.ts';
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

async function containersOf(step: string): Promise<string[]> {
  const filter = (label: string) => ['--filter', `label=dev.impgem.${label}`];
  const args = ['ps', '-aq', ...filter(`instance=${bench.options.instance}`), ...filter(`step=${step}`)];
  return (await execa('docker', args)).stdout.split('\n');
}
