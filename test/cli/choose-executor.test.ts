import { execa } from 'execa';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { type AddressInfo, connect, createServer as createNetServer } from 'node:net';
import { join, resolve } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { chooseExecutor, type ExecutorUse } from '../../src/cli/choose-executor.ts';
import { readSettings } from '../../src/config/read-settings.ts';
import { startDockerEngine } from '../support/docker-engine.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const settings = async (env: Record<string, string>) => {
  const folder = await temporaryFolder();
  return readSettings({ IMPGEM_DATA: folder, DOCKER_HOST: `unix://${join(folder, 'none.sock')}`, ...env }, folder);
};

/** Chooses, and closes what was chosen when the test ends. */
async function choose(env: Record<string, string>): Promise<string> {
  const executor = await chooseExecutor(await settings(env), { local: '/nonexistent' });
  onTestFinished(() => executor.close());
  return executor.name;
}

/** The way to the machine's engine, which delays what it passes on. */
async function slowEngine(ms: number): Promise<string> {
  const path = join(await temporaryFolder(), 'docker.sock');
  const server = createNetServer((client) => {
    const engine = connect('/var/run/docker.sock');
    client.on('error', () => engine.destroy());
    engine.on('error', () => client.destroy());
    engine.pipe(client);
    setTimeout(() => client.pipe(engine), ms);
  }).listen(path);
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  return path;
}

async function checkout(): Promise<string> {
  const folder = await temporaryFolder();
  await execa('git', ['init', '-q'], { cwd: folder });
  // What it prints stands nowhere in what it says it runs.
  const step = '[ -e /.dockerenv ] && place=container || place=host; echo "on the $place"';
  await writeFile(join(folder, '.impgem.yml'), `steps:\n  - run: |\n      ${step}\n`);
  await execa('git', ['add', '.'], { cwd: folder });
  await execa('git', ['-c', 'user.name=gem', '-c', 'user.email=gem@localhost', 'commit', '-qm', 'first'], {
    cwd: folder,
  });
  return folder;
}

/** What `impgem run` prints where `auto` is to choose, after `mounts`, which nobody else sees. */
async function ranIn(mounts: string): Promise<string> {
  const folder = await checkout();
  const script = `${mounts} && exec "$0" "$@"`;
  const ran = await execa('unshare', ['--mount', 'sh', '-ec', script, 'node', resolve('dist/impgem.js'), 'run'], {
    cwd: folder,
    extendEnv: false,
    env: { PATH: process.env['PATH']!, HOME: folder },
    reject: false,
    all: true,
  });
  return ran.all;
}

describe('the executor', () => {
  it('is the sandbox where it is named, without a look for an engine', async () => {
    expect(await choose({ IMPGEM_EXECUTOR: 'sandbox' })).toBe('sandbox');
  });

  it('is an engine or an error where DOCKER_HOST says where one is', async () => {
    await expect(choose({})).rejects.toMatchObject({
      code: 'engine-unreachable',
      message: expect.stringMatching(/DOCKER_HOST is set.* ENOENT .*set IMPGEM_EXECUTOR=sandbox/),
    });
    const server = createServer((_, response) => response.end('{}')).listen(0, '127.0.0.1');
    onTestFinished(() => void server.close());
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    await expect(choose({ DOCKER_HOST: `tcp://127.0.0.1:${port}` })).rejects.toMatchObject({
      code: 'engine-failed',
      message: expect.stringContaining('not an engine'),
    });
  });

  it('is that of an engine which takes its time to answer', async () => {
    await startDockerEngine();
    const socket = await slowEngine(400);
    expect(await choose({ DOCKER_HOST: `unix://${socket}` })).toBe('docker');
    expect(await ranIn(`mount --bind ${socket} /var/run/docker.sock`)).toContain('on the container');
  });

  it('is the sandbox where nothing listens at the usual socket', async () => {
    await startDockerEngine();
    const empty = join(await temporaryFolder(), 'docker.sock');
    await writeFile(empty, '');
    expect(await ranIn(`mount --bind ${empty} /var/run/docker.sock`)).toContain('on the host');
  });

  it('says what was chosen, and why', async () => {
    await startDockerEngine();
    const heard: string[] = [];
    for (const env of [{ IMPGEM_EXECUTOR: 'sandbox' }, { DOCKER_HOST: 'unix:///var/run/docker.sock' }]) {
      const use = { local: '/nonexistent', onChoice: (sentence: string) => void heard.push(sentence) };
      await (await chooseExecutor(await settings(env), use)).close();
    }
    expect(heard).toEqual([
      'steps run in the sandbox: IMPGEM_EXECUTOR says so',
      expect.stringMatching(/^steps run in containers: an engine \d.* answers$/),
    ]);
  });

  it('that is named but does not answer is an error with a sentence, not another executor', async () => {
    await expect(choose({ IMPGEM_EXECUTOR: 'docker' })).rejects.toMatchObject({
      name: 'InfrastructureError',
      message: expect.stringMatching(/engine/i),
    });
  });

  it('of a local run clears away nothing of the installation whose data folder is the same', async () => {
    await startDockerEngine();
    const data = await temporaryFolder();
    const warm = join(data, 'warm', 'of-a-worker');
    await mkdir(warm, { recursive: true });
    await utimes(warm, 0, 0);
    const own = readSettings({ IMPGEM_DATA: data, IMPGEM_EXECUTOR: 'docker', IMPGEM_WARM_SLOTS: '0' }, data);
    const remains = async (use: ExecutorUse): Promise<boolean> => {
      const executor = await chooseExecutor(own, use);
      onTestFinished(() => executor.close());
      await executor.reap(() => false);
      return existsSync(warm);
    };
    expect(await remains({ local: join(data, 'local') })).toBe(true);
    expect(await remains({})).toBe(false);
  });

  it('where the sandbox has no bubblewrap is an error that says what to install', async () => {
    const path = process.env['PATH'];
    onTestFinished(() => void (process.env['PATH'] = path));
    process.env['PATH'] = await temporaryFolder();
    await expect(choose({ IMPGEM_EXECUTOR: 'sandbox' })).rejects.toMatchObject({
      code: 'executor-unavailable',
      message: expect.stringContaining('apt-get install bubblewrap'),
    });
  });
});
