/** Pulls from a real registry. */
import { execa } from 'execa';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDockerExecutor } from '../../src/executors/docker/docker-executor.ts';
import { connectEngine, type Engine } from '../../src/executors/docker/engine.ts';
import { parseImageName } from '../../src/executors/docker/image-name.ts';
import { createImages, pullError } from '../../src/executors/docker/images.ts';
import { createJobImages } from '../../src/executors/docker/job-images.ts';
import { createPlatformCheck } from '../../src/executors/docker/foreign-images.ts';
import { BASE_IMAGE, openEngineBench, startDockerEngine } from '../support/docker-engine.ts';
import { PASSWORD, startRegistry, type TestRegistry, USER } from '../support/docker-registry.ts';
import { contextOf } from './conformance/job.ts';

let engine: Engine;
let open: TestRegistry;
let closed: TestRegistry;

beforeAll(async () => {
  await startDockerEngine();
  engine = await connectEngine({});
  [open, closed] = await Promise.all([startRegistry(), startRegistry({ auth: true })]);
});
afterAll(async () => {
  await Promise.all([open.close(), closed.close()]);
  engine.close();
});

const images = (more: { pullPolicy?: 'missing' | 'always'; authConfig?: string } = {}) =>
  createImages(engine.docker, { pullPolicy: 'missing', ...more }, createPlatformCheck(engine.docker, {}));
const quiet = (): void => undefined;
const authOf = (host: string, password: string) =>
  JSON.stringify({ auths: { [host]: { auth: Buffer.from(`${USER}:${password}`).toString('base64') } } });

/** An image that says that it is of another platform; layers that the engine has need no file in `folder`. */
async function loadForeign(folder: string, name: string, layers: string[]): Promise<string> {
  const full = `impgem-test/${name}-${process.pid}:1`;
  const config = {
    architecture: 's390x',
    os: 'linux',
    config: {},
    rootfs: { type: 'layers', diff_ids: layers },
  };
  const manifest = [{ Config: 'config.json', RepoTags: [full], Layers: layers.map(() => 'layer.tar') }];
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  await writeFile(join(folder, 'manifest.json'), JSON.stringify(manifest));
  await execa('sh', ['-c', 'tar -C "$0" -c . | docker load', folder]);
  return full;
}

describe('an image', () => {
  it('is pulled when it is missing, says so, and then is there', async () => {
    const name = await open.publish('team/tool:1');
    const notes: string[] = [];
    const digest = await images().ensure(name, (line) => notes.push(line));
    expect(digest).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(notes[0]).toBe(`pulling image ${name}`);
    expect(notes.at(-1)).toBe(`pulled image ${name} (${digest})`);
    const again: string[] = [];
    expect(await images().ensure(name, (line) => again.push(line))).toBe(digest);
    expect(again).toEqual([]);
  });

  it('is pulled once for all who want it at the same time', async () => {
    const name = await open.publish('team/shared:1');
    const shared = images();
    const notes: string[][] = [[], [], []];
    await Promise.all(notes.map((log) => shared.ensure(name, (line) => log.push(line))));
    for (const log of notes) expect(log.at(-1)).toMatch(/^pulled image/);
    const now = String(Math.ceil(Date.now() / 1000) + 1);
    const filters = ['--filter', 'event=pull', '--filter', `image=${name}`];
    const { stdout } = await execa('docker', ['events', '--since', '1', '--until', now, ...filters]);
    expect(stdout.split('\n')).toHaveLength(1);
  });

  it('has the digest of the repository that is named, also when it came from others before', async () => {
    const first = await open.publish('team/first:1');
    await images().ensure(first, quiet);
    const second = `${open.host}/team/second:1`;
    await execa('docker', ['tag', first, second]);
    const { stdout: id } = await execa('docker', ['image', 'inspect', '--format', '{{.Id}}', first]);
    // It was never there: what there is is its id.
    expect(await images().ensure(second, quiet)).toBe(id);
  });

  it('is looked for again where the policy is always', async () => {
    const name = await open.publish('team/moving:latest');
    const first = await images({ pullPolicy: 'always' }).ensure(name, quiet);
    await open.publish('team/moving:latest');
    const second = await images({ pullPolicy: 'always' }).ensure(`${open.host}/team/moving`, quiet);
    expect(second).not.toBe(first);
  });

  it('is pulled once for all that belongs to one job, whatever the policy is', async () => {
    const name = await open.publish('team/job:1');
    const notes: string[] = [];
    const job = createJobImages(images({ pullPolicy: 'always' }), (line) => notes.push(line));
    const first = await job.ensure(name);
    await open.publish('team/job:1');
    expect(await job.ensure(name)).toBe(first);
    expect(notes.filter((line) => line.startsWith('pulled'))).toHaveLength(1);
  });

  it('that could not be pulled is tried again for the next of the job that wants it', async () => {
    const job = createJobImages(images(), quiet);
    const name = `${open.host}/team/later:1`;
    await expect(job.ensure(name)).rejects.toMatchObject({ code: 'image-not-found' });
    await open.publish('team/later:1');
    expect(await job.ensure(name)).toMatch(/^sha256:/);
  });

  it('of a closed registry needs credentials, and the right ones', async () => {
    const name = await closed.publish('private/tool:1');
    await expect(images().ensure(name, quiet)).rejects.toMatchObject({
      name: 'InputError',
      code: 'image-denied',
      message: expect.stringContaining('DOCKER_AUTH_CONFIG'),
    });
    await expect(images({ authConfig: authOf(closed.host, 'wrong') }).ensure(name, quiet)).rejects.toMatchObject({
      name: 'InfrastructureError',
      code: 'image-denied',
      retryable: false,
    });
    const right = images({ authConfig: authOf(closed.host, PASSWORD) });
    expect(await right.ensure(name, quiet)).toMatch(/^sha256:/);
  });

  it('that does not exist is not found', async () => {
    await open.publish('team/exists:1');
    for (const name of ['team/exists:2', 'team/nothing:1'])
      await expect(images().ensure(`${open.host}/${name}`, quiet)).rejects.toMatchObject({
        name: 'InputError',
        code: 'image-not-found',
      });
  });

  it('of another platform only says that', async () => {
    const name = await open.publishFor('team/arm:1', { os: 'linux', architecture: 's390x' });
    await expect(images().ensure(name, quiet)).rejects.toMatchObject({ name: 'InputError', code: 'image-platform' });
  });

  it('of another platform that is there is told as that before a step gets `exec format error`', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'impgem-foreign-'));
    await mkdir(join(folder, 'root/bin'), { recursive: true });
    await writeFile(join(folder, 'root/bin/sh'), '\x7fELF of another machine', { mode: 0o755 });
    await execa('tar', ['-C', join(folder, 'root'), '-cf', join(folder, 'layer.tar'), '.']);
    const digest = createHash('sha256').update(await readFile(join(folder, 'layer.tar')));
    const name = await loadForeign(folder, 'foreign', [`sha256:${digest.digest('hex')}`]);
    await expect(images().ensure(name, quiet)).rejects.toMatchObject({
      name: 'InputError',
      code: 'image-platform',
      message: expect.stringMatching(/is for linux\/s390x, and this engine \(linux\/\w+\)/),
    });
    await execa('docker', ['rmi', name]);
    await rm(folder, { recursive: true, force: true });
  });

  it('of another platform is taken where it runs all the same, as with binfmt', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'impgem-foreign-'));
    const { stdout } = await execa('docker', ['image', 'inspect', '--format', '{{json .RootFS.Layers}}', BASE_IMAGE]);
    const name = await loadForeign(folder, 'runs', JSON.parse(stdout) as string[]);
    expect(await images().ensure(name, quiet)).toMatch(/^sha256:/);
    await execa('docker', ['rmi', name]);
    await rm(folder, { recursive: true, force: true });
  });

  it('without a shell is the fault of the pipeline that names it', async () => {
    const empty = `impgem-test/no-shell-${process.pid}`;
    await execa('sh', ['-c', `tar -c --files-from /dev/null | docker import - ${empty}`]);
    const bench = await openEngineBench();
    const executor = await createDockerExecutor(bench.options);
    const context = await contextOf(empty, []);
    await expect(executor.prepare(context)).rejects.toMatchObject({ name: 'InputError', code: 'image-without-shell' });
    await executor.close();
    await rm(context.folder, { recursive: true, force: true });
    await bench.close();
    await execa('docker', ['rmi', '-f', empty]);
  });

  it('of a registry that is away may be tried again', async () => {
    await expect(images().ensure('127.0.0.1:9/team/tool:1', quiet)).rejects.toMatchObject({
      code: 'registry-unreachable',
      retryable: true,
    });
  });
});

describe('a disk of the engine that is full', () => {
  it.each(['usr/bin/timeout', 'etc/denied', 'usr/share/not found', 'EOF'])('is told as that, at %s too', (file) => {
    const error = new Error(`failed to register layer: write /${file}: no space left on device`);
    expect(pullError(error, 'a:1', false)).toMatchObject({ name: 'InfrastructureError', code: 'engine-no-space' });
  });
});

describe('credentials', () => {
  it('that cannot be read are an error that quotes nothing of them', () => {
    expect(() => images({ authConfig: '{"auths": topsecret' })).toThrow(/config.json/);
    expect(() => images({ authConfig: '{"auths": topsecret' })).not.toThrow(/topsecret/);
  });
});

describe('names of images', () => {
  it('get a tag, and say their registry', () => {
    expect(parseImageName('debian')).toEqual({ full: 'debian:latest', registry: 'docker.io' });
    expect(parseImageName('team/tool:1')).toEqual({ full: 'team/tool:1', registry: 'docker.io' });
    expect(parseImageName('localhost/a')).toEqual({ full: 'localhost/a:latest', registry: 'localhost' });
    expect(parseImageName('r.example:5000/a/b__c')).toMatchObject({ registry: 'r.example:5000' });
    const digest = `@sha256:${'a'.repeat(64)}`;
    expect(parseImageName(`a${digest}`).full).toBe(`a${digest}`);
  });

  it('do not take long to refuse', () => {
    for (const text of [`${'a-'.repeat(250)}!`, `${'a/'.repeat(250)}!`, `${'a.'.repeat(200)}:${'b'.repeat(100)}!`])
      expect(() => parseImageName(text)).toThrow('is not the name');
  });
});
