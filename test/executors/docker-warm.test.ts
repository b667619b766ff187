/** Containers that were there before their job. */
import { execa } from 'execa';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, onTestFinished } from 'vitest';
import { createDockerExecutor } from '../../src/executors/docker/docker-executor.ts';
import type { ExecutorParts } from '../../src/executors/docker/parts.ts';
import { createStartQueue } from '../../src/executors/docker/start-queue.ts';
import { createWarmSlots } from '../../src/executors/docker/warm-slots.ts';
import type { Executor, JobContext } from '../../src/executors/executor.ts';
import { BASE_IMAGE, type EngineBench, openEngineBench } from '../support/docker-engine.ts';
import { jobSpec, stepSpec } from '../support/job-fixture.ts';
import { runJob } from '../support/run-job.ts';
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
async function warmUp(image = BASE_IMAGE): Promise<void> {
  const job = await executor.prepare(await context({ image }));
  await job.dispose();
  await untilWarm(image);
}

/** Settles when one slot of each of these images, and no other, waits with all its containers. */
async function untilWarm(...images: string[]): Promise<void> {
  const filter = ['--filter', `label=dev.impgem.instance=${bench.options.instance}`];
  const events = execa('docker', ['events', '--since', '1', ...filter], { reject: false });
  for await (const line of events)
    if (line.includes('container start') && (await warmImages()).sort().join() === images.sort().join()) events.kill();
}

async function warmImages(): Promise<string[]> {
  return (await warmHolders(3)).map(({ image }) => image);
}

/** What holds the networks of slots in which as many containers wait. */
async function warmHolders(waiting: number): Promise<{ name: string; image: string; slot: string }[]> {
  const all = await containers('label=dev.impgem.slot');
  const waitingIn = (slot: string) => all.filter((one) => one.slot === slot && one.step === 'warm').length;
  return all.filter(({ name, slot }) => name.startsWith('impgem-warm.') && waitingIn(slot) === waiting);
}

/** The slot in which nothing waits, once all others are there with what waits in them. */
async function bareSlot(): Promise<string> {
  const filter = ['--filter', `label=dev.impgem.instance=${bench.options.instance}`];
  const events = execa('docker', ['events', '--since', '1', ...filter], { reject: false });
  let found: string | undefined;
  for await (const line of events) {
    if (!line.includes('container start')) continue;
    const [bare] = await warmHolders(0);
    if (bare === undefined || (await warmImages()).length === 0) continue;
    found = bare.slot;
    events.kill();
  }
  return found ?? '';
}

/** The same image by another name, which is another image to whoever keeps containers of it. */
async function otherImage(): Promise<string> {
  const name = `impgem-test-warm:${bench.options.instance}`;
  await execa('docker', ['tag', BASE_IMAGE, name]);
  onTestFinished(async () => {
    await execa('docker', ['rmi', name]);
  });
  return name;
}

/** Those of this bench that run, as `filter` says. */
async function containers(filter: string): Promise<{ name: string; image: string; slot: string; step: string }[]> {
  const args = ['--filter', `label=dev.impgem.instance=${bench.options.instance}`, '--filter', filter];
  const format = '{{.Names}}|{{.Image}}|{{.Label "dev.impgem.slot"}}|{{.Label "dev.impgem.step"}}';
  const lines = (await execa('docker', ['ps', ...args, '--format', format])).stdout.split('\n').filter(Boolean);
  return lines.map((line) => {
    const [name = '', image = '', slot = '', step = ''] = line.split('|');
    return { name, image, slot, step };
  });
}

/** The containers that hold the networks of jobs. */
async function holders(): Promise<string[]> {
  return (await containers('name=impgem-job.')).map(({ name, image }) => `${name} ${image}`);
}

/** Gives the slot that the job was in. */
async function runOne(image: string): Promise<string | undefined> {
  const job = await executor.prepare(await context({ image }));
  expect(await job.start(taskOf('true'), recordOutput(), { signal })).toMatchObject({ code: 0 });
  const [holder] = await containers('name=impgem-job.');
  await job.dispose();
  return holder?.slot;
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
  expect(await holders()).toEqual([`impgem-job.${mine.owner.run}.${mine.owner.job}.1 ${BASE_IMAGE}`]);
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

it('labels with its job what is made after a job took its slot', async () => {
  await warmUp();
  const made = await context();
  const { run } = made.owner;
  const job = await executor.prepare(made);
  const labels = [`run=${run}`, 'job=test', 'attempt=1', 'step=4'];
  const filters = labels.flatMap((label) => ['--filter', `label=dev.impgem.${label}`]);
  job.expect(['1', '2', '3', '4'].map((id) => taskOf('true', { id })));
  await expect.poll(async () => (await execa('docker', ['ps', '-q', ...filters])).stdout).toMatch(/^[0-9a-f]+$/);
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

it("gives a job no slot of another image: a stranger's programs ran in it", async () => {
  const image = await otherImage();
  await warmUp(image);
  const job = await executor.prepare(await context());
  expect(await holders()).toEqual([expect.stringContaining(` ${BASE_IMAGE}`)]);
  await job.dispose();
});

it('gives a job of an image that none waits for a slot in which no container ever was', async () => {
  const image = await otherImage();
  await warmUp();
  const bare = await bareSlot();
  const notes: string[] = [];
  const job = await executor.prepare(await context({ image, note: (line) => void notes.push(line) }));
  expect((await containers('name=impgem-job.')).map(({ slot }) => slot)).toEqual([bare]);
  expect((await containers('label=dev.impgem.step')).filter(({ slot }) => slot === bare)).toEqual([]);
  expect(await job.start(taskOf('true'), recordOutput(), { signal })).toMatchObject({ code: 0 });
  expect(notes).toEqual([expect.stringMatching(`^image ${image} is sha256:`)]);
  await job.dispose();
});

it('leaves no folder of a slot that could not be made', async () => {
  const asked = Promise.reject(new Error('the engine went away'));
  asked.catch(() => undefined);
  const problems: unknown[] = [];
  const folder = (await context()).folder;
  const parts = {
    options: { ...bench.options, folder: join(folder, 'slots') },
    starts: createStartQueue(),
    images: { ensure: () => Promise.resolve('sha256:0'), has: () => Promise.resolve(false) },
    sharesDisk: () => asked,
  } as unknown as ExecutorParts;
  await new Promise<void>((resolve) => {
    const warm = createWarmSlots(parts, 1, (error) => {
      problems.push(error);
      resolve();
    });
    warm.use(BASE_IMAGE);
  });
  expect(problems).toEqual([expect.objectContaining({ message: 'the engine went away' })]);
  expect(await readdir(join(folder, 'slots'))).toEqual([]);
});

it('keeps a slot of each image that jobs take turns with', async () => {
  await executor.close();
  executor = await createDockerExecutor({ ...bench.options, warmSlots: 2 });
  const image = await otherImage();
  await runOne(image);
  await untilWarm(BASE_IMAGE, image);
  for (const next of [BASE_IMAGE, image]) {
    const warm = (await warmHolders(3)).find((one) => one.image === next);
    expect(await runOne(next)).toBe(warm?.slot);
    await untilWarm(BASE_IMAGE, image);
  }
});

it('makes a new slot for one that somebody ended, and gives no job the dead one', async () => {
  await warmUp();
  const [old] = await warmHolders(3);
  await execa('docker', ['kill', old?.name ?? '']);
  await untilWarm(BASE_IMAGE);
  expect((await warmHolders(3))[0]?.name).not.toBe(old?.name);
  const job = await executor.prepare(await context());
  const output = recordOutput();
  expect(await job.start(taskOf('echo alive'), output, { signal })).toMatchObject({ code: 0 });
  await job.dispose();
});

/** An image that cannot hold a slot. */
async function imageWithoutSleep(): Promise<string> {
  const image = `impgem-test-warm-bad:${bench.options.instance}`;
  await execa('docker', ['run', '--name', bench.options.instance, BASE_IMAGE, 'rm', '/bin/sleep']);
  await execa('docker', ['commit', bench.options.instance, image]);
  await execa('docker', ['rm', bench.options.instance]);
  onTestFinished(async () => {
    await execa('docker', ['rmi', '-f', image]);
  });
  return image;
}

it("does not make a bare slot again and again where the operator's own image cannot hold one", async () => {
  const image = await imageWithoutSleep();
  const other = await createDockerExecutor({ ...bench.options, image });
  const job = await other.prepare(await context());
  expect(await job.start(taskOf('true'), recordOutput(), { signal })).toMatchObject({ code: 0 });
  await job.dispose();
  await untilWarm(BASE_IMAGE);
  const label = ['--filter', `label=dev.impgem.instance=${bench.options.instance}`, '--filter', `image=${image}`];
  const made = async (): Promise<number> => {
    const until = String(Math.ceil(Date.now() / 1000));
    const events = await execa('docker', ['events', '--since', '1', '--until', until, ...label, '-f', 'event=create']);
    return events.stdout.split('\n').filter((line) => line.includes('container create')).length;
  };
  await delay(1000);
  const before = await made();
  expect(before).toBeGreaterThan(0);
  await delay(3000);
  expect(await made()).toBe(before);
  await other.close();
});

it('keeps no slot of an image that cannot hold one', async () => {
  const image = await imageWithoutSleep();
  const failing = executor.prepare(await context({ image })).then(async (job) => {
    const exit = job.start(taskOf('true'), recordOutput(), { signal });
    return exit.finally(() => job.dispose());
  });
  await expect(failing).rejects.toMatchObject({ code: 'image-without-sleep' });
  // The pool still works, for the next image.
  await warmUp();
  expect((await containers('label=dev.impgem.slot')).filter((one) => one.image === image)).toEqual([]);
});

it('takes the name of a job from what a dead worker left under it', async () => {
  await warmUp();
  const mine = await context();
  const name = `impgem-job.${mine.owner.run}.${mine.owner.job}.${mine.owner.attempt}`;
  await execa('docker', ['create', '--name', name, BASE_IMAGE]);
  const job = await executor.prepare(mine);
  expect(await job.start(taskOf('true'), recordOutput(), { signal })).toMatchObject({ code: 0 });
  expect(await holders()).toEqual([`${name} ${BASE_IMAGE}`]);
  await job.dispose();
});

it('keeps nothing warm of a tag that is to be pulled each time, but of an image that is named for good', () => {
  const asked: string[] = [];
  const quiet = (): Promise<void> => {
    asked.push('to make one');
    return new Promise(() => undefined);
  };
  const parts = { options: { ...bench.options, pullPolicy: 'always' }, starts: { quiet } } as unknown as ExecutorParts;
  const warm = createWarmSlots(parts, 1, () => undefined);
  warm.use(BASE_IMAGE);
  expect(asked).toEqual([]);
  warm.use(`${BASE_IMAGE}@sha256:${'0'.repeat(64)}`);
  expect(asked).toEqual(['to make one']);
});

/** A registry that does with each connection what it is told; `asked` settles at the next one. */
async function badRegistry(onConnection: (socket: Socket) => void) {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    onConnection(socket);
  }).listen(0, '127.0.0.1');
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return { image: `127.0.0.1:${port}/team/tool`, asked: () => once(server, 'connection') };
}

it('waits for no pull when a job is let go or disposed of', async () => {
  const { image, asked } = await badRegistry(() => undefined);
  for (const leave of ['detach', 'dispose'] as const) {
    const mine = await context();
    const job = await executor.prepare(mine);
    const pulling = asked();
    job.expect([{ ...taskOf('true'), image: `${image}:${leave}` }]);
    await pulling;
    await job[leave]();
    if (leave === 'detach') await (await executor.adopt(mine))?.sandbox.dispose();
  }
});

it('hands a job back, or ends it, while the image that it was to be prepared in is still being pulled', async () => {
  const { image, asked } = await badRegistry(() => undefined);
  for (const [leave, outcome] of [
    ['detach', 'detached'],
    ['cancel', { state: 'cancelled' }],
  ] as const) {
    const { folder } = await context();
    const pulling = asked();
    const job = runJob(executor, folder, jobSpec([stepSpec('true')], { image: `${image}:job-${leave}` }));
    await pulling;
    job[leave].abort({ state: 'cancelled', reason: 'by a user' });
    if (typeof outcome === 'string') expect(await job.result).toBe(outcome);
    else expect(await job.result).toMatchObject(outcome);
  }
});

it('pulls again for the next step what could not be pulled ahead or before', async () => {
  let connections = 0;
  const { image } = await badRegistry((socket) => {
    connections++;
    socket.destroy();
  });
  const job = await executor.prepare(await context());
  const seen: number[] = [];
  for (let tries = 0; tries < 2; tries++) {
    await expect(job.start(taskOf('true', { image }), recordOutput(), { signal })).rejects.toThrow();
    seen.push(connections);
  }
  expect(seen[1]).toBeGreaterThan(seen[0]!);
  await job.dispose();
});

it('makes a new container for a step when the one that waited was ended', async () => {
  await warmUp();
  const job = await executor.prepare(await context());
  for (const { name, step } of await containers('label=dev.impgem.step'))
    if (step === 'warm') await execa('docker', ['kill', name]);
  expect(await job.start(taskOf('true'), recordOutput(), { signal })).toMatchObject({ code: 0 });
  await job.dispose();
});
