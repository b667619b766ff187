import { setTimeout as wait } from 'node:timers/promises';
import { ImpGemError, InfrastructureError, messageOf } from './errors.ts';

/** Our own server, as a worker without a disk in common with it reaches it. */
export interface ServerAddress {
  /** `https://ci.example`, with or without a path and a slash at the end. */
  url: string;
  token: string;
}

/** For how long the server is worth waiting for. */
export interface Patience {
  /** Aborted with a LostJobError: requests under way reject with it at once, and none is begun any more. */
  lost: AbortSignal;
  /** From here on nothing is tried twice, and a silent server is left soon. */
  enough: AbortSignal;
}

export interface ServerRequest {
  method: 'GET' | 'PUT' | 'POST';
  /** Below the url, parts encoded. */
  path: string;
  /** Called for every try, for a stream can be sent once only. */
  body?: () => Buffer | ReadableStream;
}

const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 5_000;
/** Silence of the server after which a try is given up: no answer, and no more of the body taken. */
const SILENCE_MS = 120_000;
const LAST_SILENCE_MS = 5_000;

/**
 * One request that is safe to repeat, repeated until it is answered or patience ends; gives the JSON of the answer.
 * InfrastructureError with the server's code and sentence for 4xx, `token-refused` for 401 and 403, and
 * `server-unreachable` when it does not answer, or with 408, 429 or 5xx.
 */
export async function request(server: ServerAddress, patience: Patience, asked: ServerRequest): Promise<unknown> {
  for (let delay = FIRST_DELAY_MS; ; delay = Math.min(2 * delay, LONGEST_DELAY_MS)) {
    patience.lost.throwIfAborted();
    try {
      return await requestOnce(server, patience, asked);
    } catch (error) {
      patience.lost.throwIfAborted();
      const again = error instanceof InfrastructureError && error.retryable && !patience.enough.aborted;
      if (!again) throw error;
    }
    const woken = AbortSignal.any([patience.lost, patience.enough]);
    await wait(delay * (0.5 + Math.random() / 2), undefined, { signal: woken }).catch(() => undefined);
  }
}

async function requestOnce(
  { url, token }: ServerAddress,
  { lost, enough }: Patience,
  { method, path, body }: ServerRequest,
): Promise<unknown> {
  const cut = new AbortController();
  const cutAfter = (ms: number): NodeJS.Timeout =>
    setTimeout(() => cut.abort(new Error(`silent for ${ms / 1000} s`)), ms);
  let timer = cutAfter(enough.aborted ? LAST_SILENCE_MS : SILENCE_MS);
  const onEnough = (): void => {
    clearTimeout(timer);
    timer = cutAfter(LAST_SILENCE_MS);
  };
  const onLost = (): void => cut.abort(lost.reason);
  enough.addEventListener('abort', onEnough);
  lost.addEventListener('abort', onLost);
  const init: RequestInit = {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/octet-stream' },
    // A redirect would carry the token to somebody else.
    redirect: 'error',
    signal: cut.signal,
  };
  try {
    const sent = body ? { ...init, body: watched(body(), () => timer.refresh()), duplex: 'half' as const } : init;
    const response = await fetch(`${url.replace(/\/+$/, '')}${path}`, sent);
    const answer = parse(await response.text());
    if (response.ok) return answer;
    throw failure(response.status, answer);
  } catch (error) {
    if (error instanceof ImpGemError) throw error;
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
    // What the body's own source says (a file that is not what it was) is no fault of the server's.
    if (cause instanceof ImpGemError) throw cause;
    throw unreachable(messageOf(cause), error);
  } finally {
    clearTimeout(timer);
    enough.removeEventListener('abort', onEnough);
    lost.removeEventListener('abort', onLost);
  }
}

/** The same body; `onTaken` is called for every block of a stream that the connection takes. */
function watched(body: Buffer | ReadableStream, onTaken: () => void): Buffer | ReadableStream {
  if (Buffer.isBuffer(body)) return body;
  const transform = (block: unknown, out: TransformStreamDefaultController): void => {
    onTaken();
    out.enqueue(block);
  };
  return body.pipeThrough(new TransformStream({ transform }));
}

/** Never an InputError: what a worker asks of its server, its pipeline has not asked. */
function failure(status: number, answer: unknown): InfrastructureError {
  const { code, detail } = (typeof answer === 'object' && answer !== null ? answer : {}) as Record<string, unknown>;
  const said = typeof detail === 'string' ? detail : `status ${status}`;
  if (status >= 500 || status === 429 || status === 408) return unreachable(said);
  if (status === 401 || status === 403) {
    const advice = 'check IMPGEM_API_TOKEN';
    return new InfrastructureError('token-refused', `The server refuses the token of this worker: ${advice}.`);
  }
  return new InfrastructureError(typeof code === 'string' ? code : 'server-refused', `The server refuses: ${said}`);
}

function unreachable(why: string, cause?: unknown): InfrastructureError {
  const message = `The server does not take logs and artifacts (${why}).`;
  return new InfrastructureError('server-unreachable', message, { cause, retryable: true });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Something between us and the server answered; its status tells enough.
    return undefined;
  }
}
