/** The one place that loads dockerode, and turns its errors into ours. */
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type Docker from 'dockerode';
import { ImpGemError, InfrastructureError, messageOf } from '../../errors.ts';
import { resolveEndpoint } from './engine-address.ts';
import type { EngineAddress } from './options.ts';
import { tlsTrouble } from './tls-trouble.ts';

export interface Engine {
  docker: Docker;
  close(): void;
}

export async function connectEngine(address: EngineAddress): Promise<Engine> {
  const endpoint = resolveEndpoint(address);
  const { default: DockerClient } = await import('dockerode');
  // A TLS handshake for each call would cost more than most calls do.
  // Without the address: an agent would take our `protocol` for its own, which ends in a colon.
  const agent =
    'ca' in endpoint
      ? new HttpsAgent({ ca: endpoint.ca, cert: endpoint.cert, key: endpoint.key, keepAlive: true })
      : new HttpAgent({ keepAlive: true });
  // The types do not know that the client takes an agent.
  const settings: Docker.DockerOptions & { agent: HttpAgent } = { ...endpoint, agent };
  const docker = new DockerClient(settings);
  return { docker, close: () => agent.destroy() };
}

const CONNECTION = new Set([
  'ECONNREFUSED',
  'ENOENT',
  'EACCES',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
]);

/** What an engine's error means to us; `doing` completes "cannot ...". */
export function engineError(error: unknown, doing: string): ImpGemError {
  if (error instanceof ImpGemError) return error;
  const status = statusOf(error);
  const text = sentenceOf(error);
  const trouble = tlsTrouble(error);
  if (trouble !== undefined)
    return new InfrastructureError('engine-tls', `Cannot ${doing}: ${trouble}`, { cause: error });
  if (status === undefined && CONNECTION.has(codeOf(error)))
    return new InfrastructureError(
      'engine-unreachable',
      `Cannot ${doing}: the Docker engine does not answer (${text})`,
      {
        cause: error,
        retryable: true,
      },
    );
  if (isFull(text))
    return new InfrastructureError('engine-no-space', `Cannot ${doing}: the disk of the Docker engine is full`, {
      cause: error,
    });
  return new InfrastructureError('engine-failed', `Cannot ${doing}: ${text}`, {
    cause: error,
    retryable: status === undefined || status >= 500,
  });
}

/** Of an error's sentence. */
export function isFull(text: string): boolean {
  return /no space left on device/i.test(text);
}

/** The engine was away; what it was asked about may live on. */
export function isUnreachable(error: unknown): boolean {
  return error instanceof ImpGemError && error.code === 'engine-unreachable';
}

/** Runs a call of the engine; what it throws is ours. */
export async function engineCall<T>(doing: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw engineError(error, doing);
  }
}

export function statusOf(error: unknown): number | undefined {
  return error instanceof Error && 'statusCode' in error && typeof error.statusCode === 'number'
    ? error.statusCode
    : undefined;
}

/** The thing is not there (any more): what a removal wants. */
export function isGone(error: unknown): boolean {
  return statusOf(error) === 404;
}

/** The engine's own sentence, without the status line that the client puts in front. */
export function sentenceOf(error: unknown): string {
  if (error instanceof Error && 'json' in error) {
    const { json } = error;
    if (typeof json === 'object' && json !== null && 'message' in json && typeof json.message === 'string')
      return json.message.trim();
  }
  return messageOf(error);
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
