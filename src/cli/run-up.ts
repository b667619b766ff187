/** `impgem up`: a private Redis (unless one is given), the server and a worker as child processes of this one. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { lstat, mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Settings } from '../config/schema.ts';
import { InfrastructureError } from '../errors.ts';
import { checkListen } from '../server/start-server.ts';
import { dataFolder } from './data-folder.ts';
import { ownFolder } from './own-folder.ts';
import { ownSecrets } from './own-secrets.ts';
import { type Part, supervise } from './supervise.ts';

export interface UpProcess {
  close(): Promise<void>;
  kill(): void;
}

/** A worker may need this long to let jobs finish; Redis to write its file. */
const SERVER_GRACE_MS = 10_000;
const WORKER_GRACE_MS = 120_000;
const REDIS_GRACE_MS = 10_000;
/** Path of a unix socket, in bytes, that the kernel takes. */
const MAX_SOCKET_PATH = 100;

export async function runUp(settings: Settings, say: (line: string) => void): Promise<UpProcess> {
  const data = dataFolder(settings);
  const disown = await ownFolder(data.root);
  await checkListen(settings.IMPGEM_LISTEN).catch(async (error: unknown) => {
    await disown();
    throw error;
  });
  const secrets = await ownSecrets(settings, data.secrets);
  if (secrets.wasOpen)
    say(`up: others could read ${data.secrets}; it is closed to them now. Replace what is in it if they may have.`);
  if (secrets.made) say(`up: made secrets for the API and the webhooks; they are in ${data.secrets}`);
  else if (Object.keys(secrets.env).length > 0) say(`up: secrets are in ${data.secrets}`);

  const env: NodeJS.ProcessEnv = { ...process.env, ...secrets.env };
  const socket = await socketPath(data.redis);
  const embedded = settings.REDIS_URL === undefined;
  if (embedded) env['REDIS_URL'] = `unix://${socket}`;
  if (embedded && spawnSync('redis-server', ['--version']).status !== 0)
    throw new InfrastructureError(
      'redis-missing',
      'redis-server is not installed; install it (apt-get install redis-server) or set REDIS_URL',
    );
  // Where workers on this machine point commit statuses and CI_PIPELINE_URL to.
  if (settings.IMPGEM_PUBLIC_URL === undefined && !settings.IMPGEM_LISTEN.endsWith(':0'))
    env['IMPGEM_PUBLIC_URL'] = `http://${settings.IMPGEM_LISTEN}`;

  const self = (command: string): Part => ({
    name: command,
    command: process.execPath,
    args: [...process.execArgv, process.argv[1] ?? '', command],
    env,
  });
  const redis = embedded ? supervise(redisPart(data.redis, socket), say) : undefined;
  const server = supervise(self('server'), say);
  const worker = supervise(self('worker'), say);

  return {
    async close() {
      say('up: stopping');
      // Redis last: the others still write to it.
      await Promise.all([worker.stop(WORKER_GRACE_MS), server.stop(SERVER_GRACE_MS)]);
      await redis?.stop(REDIS_GRACE_MS);
      await disown();
    },
    kill() {
      for (const part of [worker, server, redis]) part?.kill();
    },
  };
}

function redisPart(folder: string, socket: string): Part {
  return {
    name: 'redis',
    command: 'redis-server',
    args: [
      ...['--port', '0', '--unixsocket', socket, '--unixsocketperm', '700'],
      ...['--dir', folder, '--appendonly', 'yes', '--appendfsync', 'always', '--save', ''],
      ...['--maxmemory-policy', 'noeviction', '--daemonize', 'no', '--loglevel', 'warning', '--logfile', ''],
    ],
    env: { PATH: process.env['PATH'] ?? '' },
    quiet: true,
  };
}

/** In the data folder, or, where its path is too long for a socket, in a private folder for temporary files. */
async function socketPath(folder: string): Promise<string> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const direct = join(folder, 'redis.sock');
  if (Buffer.byteLength(direct) <= MAX_SOCKET_PATH) return direct;
  const short = join(tmpdir(), `impgem-${createHash('sha256').update(folder).digest('hex').slice(0, 16)}`);
  await mkdir(short, { recursive: true, mode: 0o700 });
  // The folder for temporary files is everybody's: ours must be a real folder that only we can enter.
  const { uid, mode } = await lstat(short);
  if (uid !== process.getuid?.() || (mode & 0o170077) !== 0o040000)
    throw new InfrastructureError(
      'redis-socket',
      `${short} is not a folder of ours alone; remove it, or set IMPGEM_DATA to a shorter path`,
    );
  return join(short, 'redis.sock');
}
