/** An engine that dies under a job: the job is not lost, and nobody takes its failure for the job's. */
import { rm } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ExecutorLostError } from '../../src/errors.ts';
import { createDockerExecutor } from '../../src/executors/docker/docker-executor.ts';
import type { Executor, JobContext } from '../../src/executors/executor.ts';
import { BASE_IMAGE, type EngineBench, openEngineBench } from '../support/docker-engine.ts';
import { type OwnEngine, startOwnEngine } from '../support/own-engine.ts';
import { contextOf, recordOutput, taskOf } from './conformance/job.ts';

const never = new AbortController().signal;
const LONG = `echo begin; until [ -e go ]; do sleep 0.02; done; echo end; exit 3`;

describe.each([{ liveRestore: false }, { liveRestore: true }])('an engine that is killed ($liveRestore)', (options) => {
  let engine: OwnEngine;
  let bench: EngineBench;
  let executor: Executor;
  let context: JobContext;
  beforeAll(async () => {
    engine = await startOwnEngine({ ...options, pool: 'base=10.201.0.0/24,size=28' });
  }, 120_000);
  afterAll(() => engine.stop());
  beforeEach(async () => {
    bench = await openEngineBench({ host: engine.host, warmSlots: 1 });
    executor = await createDockerExecutor(bench.options);
    context = await contextOf(BASE_IMAGE, []);
  });
  afterEach(async () => {
    await executor.close();
    await rm(context.folder, { recursive: true, force: true });
    await bench.close();
  });

  it('says that it is away, and gives no job its failure', async () => {
    expect(await executor.trouble?.()).toBeUndefined();
    const job = await executor.prepare(context);
    await engine.kill();
    expect(await executor.trouble?.()).toBe('the Docker engine does not answer');
    const lost = { code: 'job-lost', gone: false, message: 'the Docker engine does not answer' };
    await expect(job.start(taskOf('true'), recordOutput(), { signal: never })).rejects.toMatchObject(lost);
    await expect(executor.prepare(await contextOf(BASE_IMAGE, []))).rejects.toMatchObject(lost);
    await expect(executor.adopt(context)).rejects.toMatchObject(lost);
    await engine.start();
    expect(await executor.trouble?.()).toBeUndefined();
    await job.dispose();
  });

  if (options.liveRestore) {
    it('gives no job a warm container whose way in was cut', async () => {
      const waiting = async (): Promise<number> => {
        const found = await engine.docker(
          'ps',
          '-q',
          '--filter',
          `label=dev.impgem.instance=${bench.options.instance}`,
        );
        return found.split('\n').filter(Boolean).length;
      };
      await (await executor.prepare(context)).dispose();
      // A slot of the image with its holder and three that wait, and a bare one.
      await expect.poll(waiting, { timeout: 20_000 }).toBe(5);
      await engine.kill();
      await engine.start();
      const next = await contextOf(BASE_IMAGE, []);
      const job = await executor.prepare(next);
      const output = recordOutput();
      expect(await job.start(taskOf('echo ran'), output, { signal: never })).toMatchObject({ code: 0 });
      expect(output.text()).toBe('ran\n');
      await job.dispose();
      await rm(next.folder, { recursive: true, force: true });
    });

    it('leaves nothing behind, though it was away when that was to be removed', async () => {
      const left = (): Promise<string> =>
        engine.docker('ps', '-aq', '--filter', `label=dev.impgem.instance=${bench.options.instance}`);
      const job = await executor.prepare(context);
      await engine.kill();
      await job.dispose();
      await delay(500);
      await engine.start();
      await executor.close();
      expect(await left()).toBe('');
    });

    it('says of a step whose script it lost that it was not started, and can start it', async () => {
      const job = await executor.prepare(context);
      const task = taskOf('echo ran');
      job.expect([task]);
      await expect
        .poll(() => engine.docker('ps', '-q', '--filter', `label=dev.impgem.step=${task.id}`), { timeout: 10_000 })
        .not.toBe('');
      process.kill(engine.pid()!, 'SIGSTOP');
      const running = job.start(task, recordOutput(), { signal: never });
      running.catch(() => undefined);
      // It has taken the script from us, and hands it to nobody.
      await delay(200);
      process.kill(engine.pid()!, 'SIGKILL');
      await engine.kill();
      await engine.start();
      await expect(running).rejects.toMatchObject({ code: 'task-not-started' });
      const output = recordOutput();
      expect(await job.start(task, output, { signal: never })).toMatchObject({ code: 0 });
      expect(output.text()).toBe('ran\n');
      await job.dispose();
    });

    it('lets a step go on that it did not kill, and the steps after it', async () => {
      const job = await executor.prepare(context);
      const output = recordOutput();
      const running = job.start(taskOf(LONG), output, { signal: never });
      await output.until('begin\n');
      await engine.kill();
      await engine.start();
      const next = recordOutput();
      const other = await executor.adopt(context);
      expect(await other!.sandbox.start(taskOf('touch go; echo gone'), next, { signal: never })).toMatchObject({
        code: 0,
      });
      expect(await running).toMatchObject({ code: 3 });
      expect(output.text()).toBe('begin\nend\n');
      await job.dispose();
    });
  } else {
    it('lets a job wait for a network when all address pools are taken', async () => {
      const taken: string[] = [];
      const take = (): Promise<string | undefined> =>
        engine.docker('network', 'create', `taken${taken.length}`).catch(() => undefined);
      for (let name = await take(); name !== undefined; name = await take()) taken.push(name);
      const waits = new Promise<string>((resolve) => (context.note = resolve));
      // Without a slot that is warm and has its network already.
      const cold = await createDockerExecutor({ ...bench.options, warmSlots: 0 });
      const preparing = cold.prepare(context);
      expect(await waits).toMatch(/^waiting for a network/);
      await engine.docker('network', 'rm', ...taken);
      await (await preparing).dispose();
      await cold.close();
    });

    it('takes its containers with it: the step is lost, not failed, and the next job finds nothing dead', async () => {
      const job = await executor.prepare(context);
      const output = recordOutput();
      const running = job.start(taskOf(LONG), output, { signal: never });
      await output.until('begin\n');
      const lost = expect(running).rejects.toMatchObject({ gone: true, message: /ended the containers/ });
      await engine.kill();
      await engine.start();
      await lost;
      await expect(running).rejects.toBeInstanceOf(ExecutorLostError);
      expect(await executor.adopt(context)).toBeUndefined();
      const next = await executor.prepare(await contextOf(BASE_IMAGE, []));
      expect(await next.start(taskOf('echo next'), recordOutput(), { signal: never })).toMatchObject({ code: 0 });
      // A step that was killed by itself is its own failure.
      expect(await next.start(taskOf('kill -9 $$'), recordOutput(), { signal: never })).toMatchObject({ code: 137 });
      await next.dispose();
      await job.dispose();
    });
  }
});
