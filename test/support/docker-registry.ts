/** A real image registry on loopback, and small images in it. */
import { execa } from 'execa';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './free-port.ts';

export const USER = 'builder';
export const PASSWORD = 'U*U';
/** bcrypt of PASSWORD. */
const HTPASSWD = `${USER}:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n`;

export interface TestRegistry {
  /** `127.0.0.1:PORT` */
  host: string;
  /** Puts a new small image there under this name, and removes it from the engine. Gives its full name. */
  publish(name: string): Promise<string>;
  /** Publishes an image that exists for this platform only. */
  publishFor(name: string, platform: { os: string; architecture: string }): Promise<string>;
  close(): Promise<void>;
}

export async function startRegistry({ auth = false } = {}): Promise<TestRegistry> {
  const folder = await mkdtemp(join(tmpdir(), 'impgem-registry-'));
  const host = `127.0.0.1:${await freePort()}`;
  await writeFile(join(folder, 'htpasswd'), HTPASSWD);
  const config = {
    version: '0.1',
    log: { level: 'warn' },
    storage: { filesystem: { rootdirectory: join(folder, 'data') } },
    http: { addr: host },
    ...(auth ? { auth: { htpasswd: { realm: 'test', path: join(folder, 'htpasswd') } } } : {}),
  };
  await writeFile(join(folder, 'config.yml'), JSON.stringify(config));
  const process = execa('docker-registry', ['serve', join(folder, 'config.yml')], { reject: false, all: true });
  await untilListening(host, process);
  const docker = (...args: string[]) =>
    execa('docker', ['--config', folder, ...args], { env: { DOCKER_CLI_HINTS: 'false' } });
  if (auth) await docker('login', '-u', USER, '-p', PASSWORD, host);

  async function publish(name: string): Promise<string> {
    const full = `${host}/${name}`;
    const content = join(folder, 'content');
    await mkdir(content, { recursive: true });
    await writeFile(join(content, 'file'), randomBytes(64 * 1024));
    await execa('sh', ['-c', 'tar -C "$0" -c . | docker import - "$1"', content, full]);
    await docker('push', full);
    await docker('rmi', full);
    return full;
  }

  return {
    host,
    publish,
    async publishFor(name, platform) {
      const [repository = '', tag = ''] = name.split(':');
      await publish(name);
      const types = {
        image: 'application/vnd.docker.distribution.manifest.v2+json',
        list: 'application/vnd.docker.distribution.manifest.list.v2+json',
      };
      const url = `http://${host}/v2/${repository}/manifests/${tag}`;
      const answer = await fetch(url, { headers: { accept: types.image } });
      const size = (await answer.arrayBuffer()).byteLength;
      const digest = answer.headers.get('docker-content-digest');
      const list = {
        schemaVersion: 2,
        mediaType: types.list,
        manifests: [{ mediaType: types.image, size, digest, platform }],
      };
      const put = await fetch(url, {
        method: 'PUT',
        headers: { 'content-type': types.list },
        body: JSON.stringify(list),
      });
      if (!put.ok) throw new Error(await put.text());
      return `${host}/${name}`;
    },
    async close() {
      // Also those that a later pull of the same name left without a tag.
      const left = await docker('images', '-q', '--filter', `reference=${host}/*/*`);
      const ids = [...new Set(left.stdout.split('\n').filter(Boolean))];
      if (ids.length > 0) await docker('rmi', '-f', ...ids);
      process.kill();
      await process;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function untilListening(host: string, process: { exitCode: number | null }): Promise<void> {
  for (;;) {
    try {
      await fetch(`http://${host}/v2/`);
      return;
    } catch {
      if (process.exitCode !== null) throw new Error('the registry did not start');
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
