/** Containers that were there before their job. */
import { execa } from 'execa';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createDockerExecutor } from '../../src/executors/docker/docker-executor.ts';
import type { Executor, JobContext } from '../../src/executors/executor.ts';
import { BASE_IMAGE, type EngineBench, openEngineBench } from '../support/docker-engine.ts';
import { contextOf, recordOutput, taskOf } from './conformance/job.ts';

const signal = new AbortController().signal;
let bench: EngineBench;
let executor: Executor;
let contexts: JobContext[];

beforeEach(async () => {
  bench = await openEngineBench({ warmSlots: 1 });
  executor = await createDockerExecutor(bench.options);
  contexts = [];
});
afterEach(async () => {
  await executor.close();
  expect(await bench.leftovers()).toEqual([]);
  for (const { folder } of contexts) await rm(folder, { recursive: true, force: true });
  await bench.close();
});

async function context(extra: Partial<JobContext> = {}): Promise<JobContext> {
  const made = await contextOf(BASE_IMAGE, [], extra);
  contexts.push(made);
  return made;
}

/** Runs one job so that its image is known, and waits until a slot is warm. */
async function warmUp(): Promise<void> {
  const job = await executor.prepare(await context());
  await job.dispose();
  // The engine tells when the last of the waiting containers runs.
  const filter = ['--filter', `label=dev.impgem.instance=${bench.options.instance}`, '--filter', 'event=start'];
  const events = execa('docker', ['events', '--since', '1', ...filter, '--filter', 'label=dev.impgem.step=warm'], {
    reject: false,
  });
  let seen = 0;
  for await (const line of events) if (line.includes('start') && ++seen === 3) events.kill();
}

it('says in which image a job runs also when its containers were there before it', async () => {
  await warmUp();
  const notes: string[] = [];
  const job = await executor.prepare(await context({ note: (line) => void notes.push(line) }));
  expect(notes).toEqual([expect.stringMatching(/^image debian:bookworm-slim is sha256:[0-9a-f]{64}$/)]);
  await job.dispose();
});

it('runs the first steps of a job in containers that were warm, in its own folders', async () => {
  await warmUp();
  let filled = (): void => undefined;
  const ready = new Promise<void>((resolve) => (filled = resolve));
  const mirror = await context();
  await mkdir(join(mirror.folder, 'objects/pack'), { recursive: true });
  await writeFile(join(mirror.folder, 'objects/pack/x.pack'), 'packed');
  const mine = await context({ ready, objects: join(mirror.folder, 'objects') });
  const job = await executor.prepare(mine);
  await writeFile(join(mine.folder, 'workspace/file'), 'from the commit');
  await writeFile(join(mine.folder, 'home/cached'), 'from the cache');
  const output = recordOutput();
  const script = `cat file ~/cached /impgem/objects/pack/x.pack
    echo made > made; (echo bad > /impgem/objects/pack/x.pack) 2>/dev/null || echo " refused"`;
  const running = job.start(taskOf(script), output, { signal });
  filled();
  expect(await running).toMatchObject({ code: 0 });
  expect(output.text()).toBe('from the commitfrom the cachepacked refused\n');
  const names = await execa('docker', ['ps', '--format', '{{.Names}}']);
  expect(names.stdout).toContain(`impgem-job.${mine.owner.run}.${mine.owner.job}.1`);
  const second = recordOutput();
  await job.start(taskOf('cat made'), second, { signal });
  expect(second.text()).toBe('made\n');
  await job.dispose();
});

it('gives a job no slot in which a container is just being made', async () => {
  // From the first container of a slot to the last, at every moment that the engine tells of.
  const filter = ['--filter', `label=dev.impgem.instance=${bench.options.instance}`];
  const events = execa('docker', ['events', '--since', '1', ...filter, '--filter', 'type=container'], {
    reject: false,
  });
  let seen = 0;
  const jobs: Promise<void>[] = [];
  const runOne = async (): Promise<void> => {
    const mine = await context();
    const job = await executor.prepare(mine);
    await writeFile(join(mine.folder, 'workspace/file'), 'mine');
    const output = recordOutput();
    expect(await job.start(taskOf('cat file'), output, { signal })).toMatchObject({ code: 0 });
    expect(output.text()).toBe('mine');
    await job.dispose();
  };
  for await (const line of events) {
    if (!/ (create|attach|start) /.test(line)) continue;
    if (++seen > 6) break;
    jobs.push(runOne());
    await jobs.at(-1);
  }
  events.kill();
  await Promise.all(jobs);
});

it('gives a warm container to no step of other limits or network', async () => {
  await warmUp();
  const job = await executor.prepare(await context());
  const output = recordOutput();
  const script = 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max';
  const limits = { memory: 64 * 1024 * 1024 };
  await job.start(taskOf(script, { limits }), output, { signal });
  expect(output.text()).toBe(`${limits.memory}\n`);
  const alone = recordOutput();
  await job.start(taskOf('ls /sys/class/net', { network: 'none' }), alone, { signal });
  expect(alone.text()).toBe('lo\n');
  await job.dispose();
});

it('leaves a warm slot alone when the workspace is in use already', async () => {
  await warmUp();
  const mine = await context();
  await writeFile(join(mine.folder, 'workspace/early'), 'x');
  const job = await executor.prepare(mine);
  const output = recordOutput();
  await job.start(taskOf('cat early'), output, { signal });
  expect(output.text()).toBe('x');
  await job.dispose();
});
