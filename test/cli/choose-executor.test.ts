import { existsSync } from 'node:fs';
import { mkdir, utimes } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
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

describe('the executor', () => {
  it('is the sandbox where it is named, and where no engine answers', async () => {
    expect(await choose({ IMPGEM_EXECUTOR: 'sandbox' })).toBe('sandbox');
    expect(await choose({})).toBe('sandbox');
  });

  it('is the sandbox where what answers is no engine', async () => {
    const server = createServer((_, response) => response.end('hello')).listen(0, '127.0.0.1');
    onTestFinished(() => void server.close());
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as { port: number };
    expect(await choose({ DOCKER_HOST: `tcp://127.0.0.1:${port}` })).toBe('sandbox');
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

  it('where there is neither engine nor bubblewrap is an error that says what to install', async () => {
    const path = process.env['PATH'];
    onTestFinished(() => void (process.env['PATH'] = path));
    process.env['PATH'] = await temporaryFolder();
    await expect(choose({})).rejects.toMatchObject({
      code: 'executor-unavailable',
      message: expect.stringContaining('apt-get install bubblewrap'),
    });
  });
});
