/** A connection to the engine that breaks while the engine and what runs on it go on: nothing is lost, nothing is ended. */
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDockerExecutor } from '../../src/executors/docker/docker-executor.ts';
import type { Executor } from '../../src/executors/executor.ts';
import { BASE_IMAGE, type EngineBench, openEngineBench } from '../support/docker-engine.ts';
import { type EngineProxy, startEngineProxy } from '../support/engine-proxy.ts';
import { openJob, recordOutput, taskOf, type TestJob } from './conformance/job.ts';

const never = new AbortController().signal;
const LONG = 'echo begin; until [ -e go ]; do sleep 0.02; done; echo end; exit 3';

let proxy: EngineProxy;
let bench: EngineBench;
let executor: Executor;
let job: TestJob;

async function open(sharesDisk: boolean): Promise<void> {
  proxy = await startEngineProxy();
  bench = await openEngineBench({ host: proxy.host, sharesDisk });
  executor = await createDockerExecutor(bench.options);
  job = await openJob(executor, BASE_IMAGE);
}

/** Not through the proxy. */
async function containerOf(step: string): Promise<string> {
  const filter = (label: string) => ['--filter', `label=dev.impgem.${label}`];
  const args = ['ps', '-q', '--no-trunc', ...filter(`instance=${bench.options.instance}`), ...filter(`step=${step}`)];
  return (await execa('docker', args)).stdout;
}

const go = async (step: string) => execa('docker', ['exec', await containerOf(step), 'touch', '/workspace/go']);

afterEach(async () => {
  await job.close();
  await executor.close();
  expect(await bench.leftovers()).toEqual([]);
  await proxy.close();
  await bench.close();
});

describe('an engine that does not share our disk', () => {
  beforeEach(() => open(false));

  it('is asked again for the output of a step, from where it broke', async () => {
    const output = recordOutput();
    const task = taskOf(LONG);
    const running = job.sandbox.start(task, output, { signal: never });
    await output.until('begin\n');
    proxy.cut();
    await go(task.id);
    expect(await running).toMatchObject({ code: 3 });
    expect(output.text()).toBe('begin\nend\n');
  });

  it('is asked again for the output of a service', async () => {
    const output = recordOutput();
    const service = await job.sandbox.startService({ name: 'db', run: `cd /workspace; ${LONG}`, env: {} }, output, {
      signal: never,
    });
    await output.until('begin\n');
    proxy.cut();
    await go('service-db');
    expect(await service.ended).toBe(3);
    expect(output.text()).toBe('begin\nend\n');
  });
});

describe('an engine that cannot be reached', () => {
  beforeEach(() => open(true));

  it('ends a step that was cancelled meanwhile when it can be reached again', async () => {
    const cancel = new AbortController();
    const output = recordOutput();
    const script = 'trap "" TERM; echo begin; while :; do sleep 1000; done';
    const running = job.sandbox.start(taskOf(script), output, { signal: cancel.signal, graceMs: 10 });
    await output.until('begin\n');
    proxy.shut();
    const tried = proxy.asked(/^POST .*\/kill/);
    cancel.abort();
    await tried;
    proxy.open();
    expect(await running).toMatchObject({ code: 137, reason: 'cancelled' });
  });

  it('is asked again how an adopted step ended when it did not answer', async () => {
    const task = taskOf(LONG);
    const output = recordOutput();
    job.sandbox.start(task, output, { signal: never }).catch(() => undefined);
    await output.until('begin\n');
    await job.sandbox.detach();
    const id = await containerOf(task.id);
    await execa('docker', ['kill', id]);
    const next = await createDockerExecutor(bench.options);
    const adopted = await next.adopt(job.context);
    proxy.dropOnce(new RegExp(`^GET .*/containers/${id}/json`));
    expect(await adopted!.resume(task.id, recordOutput(), { signal: never })).toMatchObject({ code: 137 });
    await adopted!.sandbox.dispose();
    await next.close();
  });
});
