import { Redis, type RedisOptions } from 'ioredis';
import { InfrastructureError, messageOf, systemCode } from '../errors.ts';

export type { Redis };

/**
 * `patient` waits for Redis as long as it takes (workers, subscriptions); `fail-fast` refuses at once while Redis is
 * away, so that a webhook is answered by the journal or a 503 and never hangs.
 */
export type Patience = 'patient' | 'fail-fast';

/** A connection to `redis://`, `rediss://` or `unix:///path`. Connection errors are told to `onError`, never thrown. */
export function connectRedis(url: string, patience: Patience, onError: (message: string) => void): Redis {
  const options = {
    maxRetriesPerRequest: patience === 'patient' ? null : 0,
    enableOfflineQueue: patience === 'patient',
    retryStrategy: (times: number) => Math.min(50 * 2 ** Math.min(times, 5), 1000),
    connectTimeout: 3000,
    // A Redis that is stopped, not gone, must not hold a webhook for longer than its forge waits.
    ...(patience === 'fail-fast' ? { commandTimeout: 2000 } : {}),
  } satisfies RedisOptions;
  const socket = /^unix:\/\/(\/.+)$/.exec(url)?.[1];
  const redis = socket ? new Redis({ ...options, path: socket }) : new Redis(url, options);
  redis.on('error', (error: Error) => {
    onError(messageOf(error));
  });
  return redis;
}

/** What ioredis says of a connection that is gone or does not answer, and Redis of itself while it starts or fails over. */
const AWAY =
  /^(Stream isn't writeable|Connection is closed|Command timed out|Reached the max retries|LOADING|MASTERDOWN|READONLY)/;

/** Whether a command failed because Redis is away: to try it again later can help. */
export function isRedisAway(error: unknown): boolean {
  return (
    AWAY.test(messageOf(error)) || ['ECONNREFUSED', 'ECONNRESET', 'ENOENT', 'EPIPE'].includes(connectionCode(error))
  );
}

/** Whether Redis answers and takes no writes: it is at its maxmemory, or its own disk is full. */
export function isRedisFull(error: unknown): boolean {
  // A script that was refused says the same in the middle of its sentence.
  return /\b(OOM command not allowed|MISCONF )/.test(messageOf(error));
}

/** The system's code, of errors of a socket only: a file that is missing has nothing to do with Redis. */
function connectionCode(error: unknown): string {
  const call = error instanceof Error && 'syscall' in error ? error.syscall : undefined;
  return call === 'connect' || call === 'read' || call === 'write' ? systemCode(error) : '';
}

/**
 * Throws InfrastructureError `redis-unfit` when the server would lose or evict our keys, with what to change. Gives what
 * is risked all the same, in words.
 */
export async function checkRedis(redis: Redis): Promise<string | undefined> {
  const info = await redis.info();
  const field = (name: string) => new RegExp(`^${name}:(.*)$`, 'm').exec(info)?.[1]?.trim() ?? '';
  const [major = 0, minor = 0] = field('redis_version').split('.').map(Number);
  const problems: string[] = [];
  if (major < 6 || (major === 6 && minor < 2))
    problems.push(`version is ${field('redis_version')}; 6.2 or newer is needed`);
  if (field('maxmemory_policy') !== 'noeviction')
    problems.push(`maxmemory-policy is ${field('maxmemory_policy')}; set it to noeviction, or queued jobs vanish`);
  if (field('aof_enabled') !== '1')
    problems.push('appendonly is off; set it to yes, or accepted pushes are lost with the process');
  if (problems.length > 0)
    throw new InfrastructureError('redis-unfit', `Redis is not fit for a queue: ${problems.join('; ')}`);
  // Who may not read its settings has no answer.
  const [, fsync] = (await redis.config('GET', 'appendfsync').catch(() => [])) as string[];
  if (fsync === undefined || fsync === 'always') return undefined;
  return `appendfsync of Redis is ${fsync}; set it to always, or accepted pushes are lost with the power`;
}
