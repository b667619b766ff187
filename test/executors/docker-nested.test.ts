/** Steps with `docker: true`: an engine of the job's own, and nobody else's. */
import { execa } from 'execa';
import { rm } from 'node:fs/promises';
import { afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { createDockerExecutor } from '../../src/executors/docker/docker-executor.ts';
import { parseNestedOptions } from '../../src/executors/docker/nested-options.ts';
import type { Executor, JobContext } from '../../src/executors/executor.ts';
import { type EngineBench, openEngineBench } from '../support/docker-engine.ts';
import { killWorker, startDoomedWorker } from '../support/docker-job.ts';
import { makeNestedImage, NESTED_IMAGE, NESTED_OPTIONS } from '../support/nested-image.ts';
import { contextOf, recordOutput, taskOf } from './conformance/job.ts';

const signal = new AbortController().signal;
const GIB = 1024 ** 3;
const nested = { image: NESTED_IMAGE, rights: parseNestedOptions(NESTED_OPTIONS) };
const limits = { memory: GIB, cpu: 2, pids: 512 };
const docker = true;
/** An image of a shell and what it needs. */
const IMPORT_TINY = `files=$(ldd /bin/sh | grep -o '/lib[^ ]*'); tar -ch /bin/sh $files 2>/dev/null | docker import - tiny >/dev/null`;

let bench: EngineBench;
let executor: Executor;
let context: JobContext;
let notes: string[];

beforeAll(makeNestedImage);
beforeEach(async () => {
  bench = await openEngineBench({ nested, limits });
  executor = await createDockerExecutor(bench.options);
  notes = [];
  context = await contextOf(NESTED_IMAGE, notes, { trusted: true });
});
afterEach(async () => {
  await executor.reap(() => false);
  await executor.close();
  expect(await bench.leftovers()).toEqual([]);
  await rm(context.folder, { recursive: true, force: true });
  await bench.close();
});

async function run(job: Awaited<ReturnType<Executor['prepare']>>, script: string, extra = {}) {
  const output = recordOutput();
  const exit = await job.start(taskOf(script, extra), output, { signal });
  return { code: exit.code, text: output.text() };
}

it('gives the steps that ask an engine of their own, with the workspace at the same path', async () => {
  const job = await executor.prepare(context);
  const first = await run(
    job,
    `${IMPORT_TINY}; docker run --rm -v "$PWD:/src" tiny /bin/sh -c 'echo inner >/src/made'`,
    {
      docker,
    },
  );
  expect(first).toEqual({ code: 0, text: '' });
  const second = await run(
    job,
    'cat made; docker ps -aq; docker images --format "{{.Repository}}"; echo $DOCKER_HOST',
    {
      docker,
    },
  );
  expect(second).toEqual({ code: 0, text: 'inner\ntiny\nunix:///impgem/docker/docker.sock\n' });
  await job.dispose();
});

it('shows it to no other step, and to no other job', async () => {
  const job = await executor.prepare(context);
  const other = await contextOf(NESTED_IMAGE, [], { trusted: true });
  const beside = await executor.prepare(other);
  expect(await run(job, 'docker network create mine >/dev/null', { docker })).toMatchObject({ code: 0 });
  const blind = await run(
    job,
    `ls /impgem; echo "[$DOCKER_HOST]"; ls /var/run/docker.sock
     for port in 2375 2376; do (echo >/dev/tcp/docker/$port) && echo open; done; true`,
  );
  expect(blind.text).toMatch(/^control\nhome\nobjects\nstep\n\[\]\nls: cannot access/);
  expect(blind.text).not.toContain('open\n');
  expect((await run(beside, 'docker network ls --format "{{.Name}}" | sort', { docker })).text).toBe(
    'bridge\nhost\nnone\n',
  );
  await job.dispose();
  await beside.dispose();
  await rm(other.folder, { recursive: true, force: true });
});

it('starts none unless a step asks, nor ahead of time for a repository that is not trusted', async () => {
  const job = await executor.prepare({ ...context, trusted: false });
  const asking = taskOf('docker ps', { docker });
  job.expect([taskOf('true'), asking]);
  await expect(job.start(asking, recordOutput(), { signal })).rejects.toMatchObject({ code: 'docker-untrusted' });
  expect(await run(job, 'true')).toMatchObject({ code: 0 });
  expect((await bench.leftovers()).filter((name) => name.includes('nested'))).toEqual([]);
  await job.dispose();
});

it('is gone with all that runs in it when the step is cancelled', async () => {
  const job = await executor.prepare(context);
  const cancel = new AbortController();
  const output = recordOutput();
  const script = `${IMPORT_TINY}; docker run --network none tiny /bin/sh -c 'echo on; while :; do :; done'`;
  const running = job.start(taskOf(script, { docker }), output, { signal: cancel.signal, graceMs: 100 });
  await output.until('on\n');
  cancel.abort();
  expect(await running).toMatchObject({ reason: 'cancelled' });
  await job.dispose();
});

it('is cancelled also while the engine is being made', async () => {
  const job = await executor.prepare(context);
  const cancel = new AbortController();
  const running = job.start(taskOf('docker ps', { docker }), recordOutput(), { signal: cancel.signal });
  cancel.abort();
  expect(await running).toMatchObject({ reason: 'cancelled' });
  await job.dispose();
});

it('is there for the steps after it when the worker was killed', async () => {
  const { owner, folder, image, trusted } = context;
  const task = taskOf(
    `${IMPORT_TINY}; echo ready; until [ -e go ]; do sleep 0.02; done; docker run --rm tiny /bin/sh -c 'echo in'`,
    {
      docker,
    },
  );
  const worker = await startDoomedWorker({ options: bench.options, context: { owner, folder, image, trusted }, task });
  await killWorker(worker);
  const adopted = await executor.adopt(context);
  const output = recordOutput();
  const resumed = adopted!.resume(task.id, output, { signal });
  await execa('touch', [`${folder}/workspace/go`]);
  expect(await resumed).toMatchObject({ code: 0 });
  expect(output.text()).toBe('ready\nin\n');
  const after = await run(adopted!.sandbox, 'docker images --format "{{.Repository}}"', { docker });
  expect(after).toEqual({ code: 0, text: 'tiny\n' });
  await adopted!.sandbox.dispose();
});

it('is reaped with a job that nobody goes on with', async () => {
  const { owner, folder, image, trusted } = context;
  const task = taskOf('docker version >/dev/null; echo up; sleep 1000', { docker });
  const worker = await startDoomedWorker({ options: bench.options, context: { owner, folder, image, trusted }, task });
  await killWorker(worker);
  expect((await bench.leftovers()).filter((name) => name.includes('-nested-'))).toHaveLength(2);
  expect(await executor.reap(() => false)).toBe(1);
});

it('starts anew, with its images, after it was killed', async () => {
  const job = await executor.prepare(context);
  await run(job, IMPORT_TINY, { docker });
  const filter = ['--filter', `label=dev.impgem.instance=${bench.options.instance}`];
  const { stdout } = await execa('docker', ['ps', '-q', ...filter, '--filter', 'label=dev.impgem.step=nested-engine']);
  await execa('docker', ['kill', stdout]);
  await execa('docker', ['wait', stdout], { reject: false });
  await expect.poll(() => notes).toContain('the nested engine ended (exit code 137)');
  expect((await run(job, 'docker images --format "{{.Repository}}"', { docker })).text).toBe('tiny\n');
  await job.dispose();
});

it('says what the engine said that cannot run', async () => {
  const poor = await createDockerExecutor({ ...bench.options, nested: { ...nested, rights: {} } });
  const job = await poor.prepare(context);
  await expect(run(job, 'docker ps', { docker })).rejects.toMatchObject({
    code: 'nested-engine-failed',
    message: expect.stringMatching(/ended with exit code 1.*IMPGEM_NESTED_ENGINE_OPTIONS.*last words: .+/s),
  });
  await job.dispose();
  await poor.close();
});
