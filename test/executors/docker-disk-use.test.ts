/** What a job takes on the disk beside its files, as an engine knows it. */
import { execa } from 'execa';
import { randomBytes } from 'node:crypto';
import { chmod, mkdir } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { createDockerExecutor } from '../../src/executors/docker/docker-executor.ts';
import type { Executor } from '../../src/executors/executor.ts';
import { BASE_IMAGE, openEngineBench, type EngineBench } from '../support/docker-engine.ts';
import { contextOf, openJob, recordOutput, taskOf, type TestJob } from './conformance/job.ts';

const MB = 1_000_000;
const VOLUME_IMAGE = `impgem-test-volume:${randomBytes(6).toString('hex')}`;
const signal = new AbortController().signal;

beforeAll(async () => {
  const { close } = await openEngineBench();
  await close();
  await execa('docker', ['build', '-q', '-t', VOLUME_IMAGE, '-'], { input: `FROM ${BASE_IMAGE}\nVOLUME /data\n` });
});
afterAll(() => execa('docker', ['rmi', '-f', VOLUME_IMAGE]));

describe.each([true, false])('of an engine that sees our disk: %s', (sharesDisk) => {
  let bench: EngineBench;
  let executor: Executor;
  let job: TestJob;

  beforeAll(async () => {
    bench = await openEngineBench({ sharesDisk });
    executor = await createDockerExecutor(bench.options);
  });
  afterAll(async () => {
    await executor.close();
    expect(await bench.leftovers()).toEqual([]);
    await bench.close();
  });

  async function whileRunning(script: string, image: string, look: () => Promise<void>): Promise<void> {
    job = await openJob(executor, image);
    const output = recordOutput();
    const cancel = new AbortController();
    const running = job.sandbox.start(taskOf(script), output, { signal: cancel.signal, graceMs: 0 });
    await output.until('ready');
    await look();
    cancel.abort();
    await running;
    await job.close();
  }

  it('it is what a running step wrote to its own layer, too', async () => {
    await whileRunning('head -c 30M /dev/urandom > /var/file; echo ready; sleep 1000', BASE_IMAGE, async () => {
      expect(await job.sandbox.diskUse()).toBeGreaterThan(30 * MB);
    });
  });

  it('it is what a step wrote to a volume that its image asks for', async () => {
    await whileRunning('head -c 30M /dev/urandom > /data/file; echo ready; sleep 1000', VOLUME_IMAGE, async () => {
      expect(await job.sandbox.diskUse()).toBeGreaterThan(30 * MB);
    });
  });

  it('it is what a step deleted and still has open, but not what it has in memory', async () => {
    const hide = 'exec 3> file; rm file; head -c 30M /dev/urandom >&3; exec 4> /dev/shm/file; rm /dev/shm/file';
    await whileRunning(`${hide}; head -c 50M /dev/urandom >&4; echo ready; sleep 1000`, BASE_IMAGE, async () => {
      const use = await job.sandbox.diskUse();
      expect(use).toBeGreaterThan(30 * MB);
      expect(use).toBeLessThan(40 * MB);
    });
  });

  it('it is what is on the disk: no hole, but what was allotted beyond the end of a file', async () => {
    const script = 'truncate -s 1T /var/hole; touch /var/file; fallocate -n -l 30M /var/file; echo ready; sleep 1000';
    await whileRunning(script, BASE_IMAGE, async () => {
      const use = await job.sandbox.diskUse();
      expect(use).toBeGreaterThan(30 * MB);
      expect(use).toBeLessThan(40 * MB);
    });
  });

  it('it is a block for each file, also for an empty one: a disk has only so many', async () => {
    const script = 'mkdir many; cd many; seq 10000 | xargs touch; echo ready; sleep 1000';
    await whileRunning(script, BASE_IMAGE, async () => {
      expect(await job.sandbox.diskUse()).toBeGreaterThan(40 * MB);
    });
  });

  it('it is what a service wrote, and not what the mirror has', async () => {
    const mirror = await contextOf(BASE_IMAGE, []);
    await mkdir(`${mirror.folder}/objects`, { recursive: true });
    await chmod(mirror.folder, 0o755);
    await execa('sh', ['-c', 'head -c 100M /dev/urandom > objects/big'], { cwd: mirror.folder });
    job = await openJob(executor, BASE_IMAGE, { objects: `${mirror.folder}/objects` });
    const run = 'head -c 30M /dev/urandom > /var/file; touch /ready; sleep 1000';
    const ready = { command: 'test -e /ready', timeoutMs: 20_000 };
    await job.sandbox.startService({ name: 'db', run, env: {}, ready }, recordOutput(), { signal });
    const use = await job.sandbox.diskUse();
    expect(use).toBeGreaterThan(30 * MB);
    expect(use).toBeLessThan(60 * MB);
    await job.close();
    await execa('rm', ['-rf', mirror.folder]);
  });

  it('is looked at by a container that is of the job, so that whoever adopts or reaps that removes it', async () => {
    job = await openJob(executor, BASE_IMAGE);
    onTestFinished(() => job.close());
    await job.run('true');
    // It lives for moments: what the engine tells afterwards misses none.
    const since = Date.now();
    await job.sandbox.diskUse();
    const during = ['--since', String(since / 1000), '--until', String((Date.now() + 1) / 1000)];
    const mine = ['--filter', `label=dev.impgem.run=${job.context.owner.run}`];
    const { stdout } = await execa('docker', ['events', ...during, ...mine, '--format', '{{.Action}} {{.ID}}']);
    const idsOf = (action: string) => [...stdout.matchAll(new RegExp(`^${action} (\\w+)$`, 'gm'))].map(([, id]) => id);
    expect(idsOf('create')).not.toEqual([]);
    expect(idsOf('destroy')).toEqual(expect.arrayContaining(idsOf('create')));
  });

  it('leaves nothing when the job is disposed of meanwhile', async () => {
    job = await openJob(executor, BASE_IMAGE);
    await job.run('true');
    const looking = job.sandbox.diskUse().catch(() => undefined);
    await job.close();
    await looking;
  });
});

// As the one of GNU says that it was too late, and that of busybox.
it.each([124, 143])(
  'is not known where looking at open files takes too long (%i): then the job is to blame',
  async (code) => {
    const bench = await openEngineBench();
    const image = `impgem-test/late-${code}`;
    const late = `FROM ${BASE_IMAGE}\nRUN printf '#!/bin/sh\\nexit ${code}\\n' > /usr/local/bin/timeout && chmod 755 /usr/local/bin/timeout\n`;
    await execa('docker', ['build', '-q', '-t', image, '-'], { input: late });
    onTestFinished(async () => {
      await execa('docker', ['rmi', '-f', image]);
      await bench.close();
    });
    const executor = await createDockerExecutor({ ...bench.options, image });
    const job = await openJob(executor, BASE_IMAGE);
    await job.run('true');
    await expect(job.sandbox.diskUse()).rejects.toMatchObject({ name: 'InputError', code: 'disk-use-hidden' });
    await job.close();
    await executor.close();
  },
);
