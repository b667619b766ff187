import { setTimeout as wait } from 'node:timers/promises';
import { ImpGemError, InfrastructureError, InputError, messageOf } from './errors.ts';

/** Our own server, as a worker without a disk in common with it reaches it. */
export interface ServerAddress {
  /** `https://ci.example`, with or without a path and a slash at the end. */
  url: string;
  token: string;
  /**
   * ms from the first failure on in which it is tried again while the server does not answer or answers 429 or 5xx: as
   * long as a restart takes, and more.
   */
  patienceMs?: number;
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

/**
 * One request that is safe to repeat, repeated until it is answered; gives the JSON of the answer. InputError with the
 * server's code and sentence for 4xx; InfrastructureError `server-unreachable` when patience ends.
 */
export async function request(server: ServerAddress, asked: ServerRequest): Promise<unknown> {
  let deadline: number | undefined;
  for (let delay = FIRST_DELAY_MS; ; delay = Math.min(2 * delay, LONGEST_DELAY_MS)) {
    try {
      return await requestOnce(server, asked);
    } catch (error) {
      // Counted from here: a large file may have been under way for long before the connection broke.
      deadline ??= performance.now() + (server.patienceMs ?? 120_000);
      const again = error instanceof InfrastructureError && error.retryable && performance.now() + delay < deadline;
      if (!again) throw error;
    }
    await wait(delay * (0.5 + Math.random() / 2));
  }
}

async function requestOnce({ url, token }: ServerAddress, { method, path, body }: ServerRequest): Promise<unknown> {
  const silence = new AbortController();
  const timer = setTimeout(() => silence.abort(new Error(`silent for ${SILENCE_MS / 1000} s`)), SILENCE_MS);
  const init: RequestInit = {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/octet-stream' },
    // A redirect would carry the token to somebody else.
    redirect: 'error',
    signal: silence.signal,
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

function failure(status: number, answer: unknown): ImpGemError {
  const { code, detail } = (typeof answer === 'object' && answer !== null ? answer : {}) as Record<string, unknown>;
  const said = typeof detail === 'string' ? detail : `status ${status}`;
  if (status >= 500 || status === 429) return unreachable(said);
  if (status === 401 || status === 403) {
    return new InputError('token-refused', 'The server refuses the token of this worker: check IMPGEM_API_TOKEN.', {
      status,
    });
  }
  return new InputError(typeof code === 'string' ? code : 'server-refused', `The server refuses: ${said}`, { status });
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
