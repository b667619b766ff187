import { readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type FakeForge, startFakeForge } from '../support/fake-forge.ts';
import { type GitServer, makeRepository, startGitServer } from '../support/git-http.ts';
import { type Process, TOKEN, WAITING, goOn, poll, startProcess, waits } from '../support/product.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

let folder: string;
let running: Process[];
beforeEach(async () => {
  folder = await temporaryFolder();
  running = [];
});
afterEach(async () => {
  await Promise.all(running.map((one) => one.stop('SIGTERM')));
});

const env = (more: Record<string, string> = {}): Record<string, string> => ({
  PATH: process.env['PATH'] ?? '',
  HOME: folder,
  IMPGEM_DATA: join(folder, 'data'),
  IMPGEM_LISTEN: '127.0.0.1:0',
  IMPGEM_EXECUTOR: 'sandbox',
  ...more,
});

async function startUp(): Promise<{ up: Process; url: string }> {
  const up = startProcess('up', env());
  running.push(up);
  await up.said(/worker ready/);
  return { up, url: /"url":"([^"]+)"/.exec(await up.said(/"listening"/))?.[1] ?? '' };
}

/** Processes below a pid, by their command line. */
async function childrenOf(parent: number): Promise<{ pid: number; command: string }[]> {
  const found: { pid: number; command: string }[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const status = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '');
    if (Number(status.slice(status.lastIndexOf(')') + 2).split(' ')[1]) !== parent) continue;
    const command = (await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ');
    found.push({ pid: Number(name), command });
  }
  return found;
}

const isReady = async (url: string): Promise<boolean | undefined> =>
  (await fetch(`${url}/readyz`).catch(() => undefined))?.ok ? true : undefined;

describe('impgem up', () => {
  it('starts everything, keeps its secrets to itself, and leaves nothing behind when it is told to stop', async () => {
    const { up, url } = await startUp();
    await poll(() => isReady(url));
    const secrets = join(folder, 'data', 'secrets.env');
    expect((await stat(secrets)).mode & 0o777).toBe(0o600);
    expect((await stat(join(folder, 'data'))).mode & 0o777).toBe(0o700);
    const text = await readFile(secrets, 'utf8');
    expect(text).toMatch(/^IMPGEM_API_TOKEN=\S{32,}$/m);
    await up.said(/made secrets .*secrets\.env/);
    const token = /^IMPGEM_API_TOKEN=(.+)$/m.exec(text)?.[1] ?? '';
    expect(up.lines.join('\n')).not.toContain(token);

    const children = await childrenOf(up.pid);
    expect(children.map((one) => /redis-server|server|worker/.exec(one.command)?.[0]).sort()).toEqual([
      'redis-server',
      'server',
      'worker',
    ]);
    for (const one of children) expect(one.command).not.toContain(token);
    expect(await up.stop('SIGINT')).toBe(0);
    for (const { pid } of children) expect(await readFile(`/proc/${pid}/stat`).catch(() => undefined)).toBeUndefined();

    const again = await startUp();
    expect(await readFile(secrets, 'utf8')).toBe(text);
    await again.up.stop('SIGINT');
  });

  it('says that one is running when it is started twice on one folder', async () => {
    await startUp();
    const second = startProcess('up', env());
    await second.said(/running already on .*data \(process \d+\)/);
    expect(await second.stop()).not.toBe(0);
  });

  it('starts nothing, and says why, when its address is taken', async () => {
    const { url } = await startUp();
    const other = startProcess('up', env({ IMPGEM_DATA: join(folder, 'other'), IMPGEM_LISTEN: new URL(url).host }));
    running.push(other);
    await other.said(/Cannot listen on .*another program listens there/);
    expect(await other.ended).toBe(3);
  });

  it('a server whose address is taken ends, instead of planning unseen', async () => {
    const { up, url } = await startUp();
    const redis = join(folder, 'data', 'redis', 'redis.sock');
    const server = startProcess(
      'server',
      env({ IMPGEM_DATA: join(folder, 'other'), IMPGEM_LISTEN: new URL(url).host, REDIS_URL: `unix://${redis}` }),
    );
    running.push(server);
    expect(await server.ended).toBe(3);
    expect(up.lines.join('\n')).not.toContain('ended');
  });

  it('sees the crash of a part, says so, and starts it again', async () => {
    const { up, url } = await startUp();
    for (const part of ['redis-server', 'impgem.js server', 'impgem.js worker']) {
      const victim = (await childrenOf(up.pid)).find((one) => one.command.includes(part));
      process.kill(victim!.pid, 'SIGKILL');
      await up.said(new RegExp(`${part.split(' ').pop()!.replace('-server', '')}: ended \\(SIGKILL\\)`));
      await poll(async () =>
        (await childrenOf(up.pid)).find((one) => one.command.includes(part) && one.pid !== victim!.pid),
      );
    }
    const newUrl = await poll(() => {
      const lines = up.lines.filter((line) => line.includes('"listening"'));
      return Promise.resolve(lines.length > 1 ? /"url":"([^"]+)"/.exec(lines.at(-1) ?? '')?.[1] : undefined);
    });
    expect(newUrl).toBeDefined();
    await poll(() => isReady(newUrl));
    expect(url).toMatch(/^http:/);
  });

  it('takes over the folder of one that was killed with -9', async () => {
    const { up } = await startUp();
    const children = await childrenOf(up.pid);
    await up.stop('SIGKILL');
    // A supervisor that is killed cannot stop its parts: they see it and end by themselves.
    for (const { pid } of children)
      await poll(async () =>
        (await readFile(`/proc/${pid}/stat`).catch(() => undefined)) === undefined ? true : undefined,
      );
    const { url } = await startUp();
    await poll(() => isReady(url));
  });

  describe('in the middle of a step', () => {
    let git: GitServer;
    let forge: FakeForge;
    beforeEach(async () => {
      git = await startGitServer({ root: join(folder, 'git') });
      forge = await startFakeForge();
    });
    afterEach(() => Promise.all([git.close(), forge.close()]));

    async function startStep(): Promise<{ up: Process; url: string }> {
      const repository = await makeRepository(join(folder, 'git'), 'ann/app');
      await repository.commit({ '.impgem.yml': `steps: [{ run: ${JSON.stringify(WAITING)} }]\n` });
      const up = startProcess(
        'up',
        env({
          IMPGEM_API_TOKEN: TOKEN,
          IMPGEM_GITEA_URL: git.url,
          IMPGEM_GITEA_API_URL: `${forge.url}/api/v1`,
          IMPGEM_GITEA_TOKEN: 'forge-token',
        }),
        true,
      );
      running.push(up);
      await up.said(/worker ready/);
      const url = /"url":"([^"]+)"/.exec(await up.said(/"listening"/))?.[1] ?? '';
      const response = await fetch(`${url}/api/runs`, {
        method: 'POST',
        headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' },
        body: JSON.stringify({ repository: 'gitea/ann/app', ref: 'main' }),
      });
      expect(response.status).toBe(201);
      await waits(join(folder, 'data', 'work'));
      return { up, url };
    }

    /** The step has begun, and ends after the stop has. */
    async function endOf(up: Process): Promise<void> {
      await up.said(/up: stopping/);
      await goOn(join(folder, 'data', 'work'));
      await up.said(/"state":"succeeded".*"job ended"/);
      expect(await up.ended).toBe(0);
      expect(up.lines.filter((line) => line.includes('"stopped"'))).toHaveLength(2);
    }

    it('Ctrl-C in a terminal, which reaches the whole process group, lets the step end', async () => {
      const { up } = await startStep();
      process.kill(-up.pid, 'SIGINT');
      await endOf(up);
      expect(up.lines.filter((line) => /: ended/.test(line))).toEqual([]);
    });

    it('a service manager that sends SIGTERM to the parts, too, lets the step end', async () => {
      const { up, url } = await startStep();
      const worker = (await childrenOf(up.pid)).find(({ command }) => command.includes('worker'));
      process.kill(worker!.pid, 'SIGTERM');
      const workers = async (): Promise<object[]> => {
        const response = await fetch(`${url}/api/workers`, { headers: { authorization: `Bearer ${TOKEN}` } });
        return ((await response.json()) as { workers: object[] }).workers;
      };
      await poll(async () => ((await workers()).length === 0 ? true : undefined));
      process.kill(up.pid, 'SIGTERM');
      await endOf(up);
    });
  });
});
