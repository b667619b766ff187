/** An engine that does not share our disk: files go in and out of volumes, the engine keeps the output. */
import { execa } from 'execa';
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createDockerExecutor } from '../../src/executors/docker/docker-executor.ts';
import { BASE_IMAGE, type EngineBench, openEngineBench } from '../support/docker-engine.ts';
import { killWorker, startDoomedWorker } from '../support/docker-job.ts';
import { conformance } from './conformance.ts';
import { contextOf, openJob, recordOutput, taskOf } from './conformance/job.ts';

const signal = new AbortController().signal;
let bench: EngineBench;
beforeAll(async () => {
  bench = await openEngineBench({ sharesDisk: false });
});
afterAll(async () => {
  await bench.close();
});

conformance('docker, disk not shared', {
  create: () => createDockerExecutor(bench.options),
  image: BASE_IMAGE,
  can: {
    bash: true,
    images: true,
    limits: true,
    services: true,
    adoption: true,
    blocksOnOutput: false,
    sealsProc: false,
  },
});

it('brings files both ways, links as links and modes without setuid, with the objects beside', async () => {
  const executor = await createDockerExecutor(bench.options);
  const mirror = await contextOf(BASE_IMAGE, []);
  await mkdir(join(mirror.folder, 'objects/pack'), { recursive: true });
  await writeFile(join(mirror.folder, 'objects/pack/x.pack'), 'packed');
  const job = await openJob(executor, BASE_IMAGE, { objects: join(mirror.folder, 'objects') });
  const workspace = join(job.context.folder, 'workspace');
  await writeFile(join(workspace, 'file'), 'from the commit');
  await symlink('/etc/passwd', join(workspace, 'link'));
  const ran = await job.run(`cat file /impgem/objects/pack/x.pack; readlink link; rm file
    echo made > made; ln -s / root; ln -s ../../.. up; cp /bin/true tool; chmod 4755 tool; echo x > ~/kept`);
  expect(ran.text).toBe('from the commitpacked/etc/passwd\n');
  await job.sandbox.pull();
  expect(await readFile(join(workspace, 'made'), 'utf8')).toBe('made\n');
  expect(await readlink(join(workspace, 'root'))).toBe('/');
  expect(await readFile(join(job.context.folder, 'home/kept'), 'utf8')).toBe('x\n');
  await expect(readFile(join(workspace, 'file'))).rejects.toThrow('ENOENT');
  await writeFile(join(workspace, 'later'), 'pushed');
  await job.sandbox.push();
  expect((await job.run('cat later made')).text).toBe('pushedmade\n');
  await job.close();
  await rm(mirror.folder, { recursive: true, force: true });
  await executor.close();
  expect(await bench.leftovers()).toEqual([]);
});

it('has the files of the job alone, not what its image has in their place', async () => {
  const image = `impgem-test-stale:${randomBytes(6).toString('hex')}`;
  const dockerfile = `FROM ${BASE_IMAGE}
    RUN mkdir -p /workspace /impgem/home /impgem/objects && touch /workspace/stale.o /impgem/home/.npmrc /impgem/objects/old`;
  await execa('docker', ['build', '-q', '-t', image, '-'], { input: dockerfile, env: { DOCKER_BUILDKIT: '0' } });
  const executor = await createDockerExecutor(bench.options);
  const job = await openJob(executor, image);
  try {
    await writeFile(join(job.context.folder, 'workspace/file'), '');
    expect(
      (await job.run('ls -A /workspace /impgem/home /impgem/objects; touch /impgem/objects/x || true')).text,
    ).toMatch(/^\/impgem\/home:\n\n\/impgem\/objects:\n\n\/workspace:\nfile\n.*Read-only file system\n$/);
  } finally {
    await job.close();
    await executor.close();
    await execa('docker', ['rmi', '-f', image]);
  }
});

it('takes nothing away when the worker looks at the files before the first step, as for a cache', async () => {
  const executor = await createDockerExecutor(bench.options);
  const job = await openJob(executor, BASE_IMAGE);
  const workspace = join(job.context.folder, 'workspace');
  await writeFile(join(workspace, 'file'), 'from the commit');
  await job.sandbox.pull();
  await writeFile(join(workspace, 'restored'), ' and a cache');
  await job.sandbox.push();
  expect((await job.run('cat file restored')).text).toBe('from the commit and a cache');
  await job.close();
  await executor.close();
});

it('takes no more back than the operator allows, and has the files of before then', async () => {
  const executor = await createDockerExecutor({ ...bench.options, filesLimit: 1024 * 1024 });
  const job = await openJob(executor, BASE_IMAGE);
  const workspace = join(job.context.folder, 'workspace');
  await writeFile(join(workspace, 'file'), 'from the commit');
  await job.run('truncate -s 10T endless');
  await expect(job.sandbox.pull()).rejects.toMatchObject({ name: 'InputError', code: 'files-too-large' });
  expect(await readdir(workspace)).toEqual(['file']);
  await job.run('rm endless; echo small > made');
  await job.sandbox.pull();
  expect((await readdir(workspace)).sort()).toEqual(['file', 'made']);
  await job.close();
  await executor.close();
});

it('gives up the copy of files to an engine that does not take them', async () => {
  const executor = await createDockerExecutor(bench.options);
  const job = await openJob(executor, BASE_IMAGE);
  await job.run('true');
  await writeFile(join(job.context.folder, 'workspace/large'), Buffer.alloc(8 * 1024 * 1024));
  const { run } = job.context.owner;
  await execa('docker', ['rm', '-f', `impgem-job.${run}.test.1`]);
  await expect(job.sandbox.push()).rejects.toMatchObject({ name: 'ExecutorLostError', gone: true });
  await job.close();
  await executor.close();
});

it('goes on with a step whose worker was killed, from the first byte of its output', async () => {
  const context = await contextOf(BASE_IMAGE, []);
  const { owner, folder, image, trusted } = context;
  const task = taskOf('for i in {1..1000}; do echo "line $i"; done; sleep 2; echo end; exit 3');
  const worker = await startDoomedWorker({ options: bench.options, context: { owner, folder, image, trusted }, task });
  await killWorker(worker);
  const executor = await createDockerExecutor(bench.options);
  const adopted = await executor.adopt(context);
  const output = recordOutput();
  expect(await adopted!.resume(task.id, output, { signal })).toMatchObject({ code: 3 });
  expect(output.text()).toBe(`${Array.from({ length: 1000 }, (_, i) => `line ${i + 1}\n`).join('')}end\n`);
  await adopted!.sandbox.dispose();
  await executor.close();
  expect(await bench.leftovers()).toEqual([]);
  await rm(folder, { recursive: true, force: true });
});
