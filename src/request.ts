import { setTimeout as wait } from 'node:timers/promises';
import { ImpGemError, InfrastructureError, InputError, messageOf } from './errors.ts';

/** Our own server, as a worker without a disk in common with it reaches it. */
export interface ServerAddress {
  /** `https://ci.example`, with or without a path and a slash at the end. */
  url: string;
  token: string;
  /** ms to go on trying while the server does not answer or answers 429 or 5xx: as long as a restart takes, and more. */
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
const ANSWER_MS = 120_000;

/**
 * One request that is safe to repeat, repeated until it is answered; gives the JSON of the answer. InputError with the
 * server's code and sentence for 4xx; InfrastructureError `server-unreachable` when patience ends.
 */
export async function request(server: ServerAddress, asked: ServerRequest): Promise<unknown> {
  const deadline = Date.now() + (server.patienceMs ?? 120_000);
  for (let delay = FIRST_DELAY_MS; ; delay = Math.min(2 * delay, LONGEST_DELAY_MS)) {
    try {
      return await requestOnce(server, asked);
    } catch (error) {
      const again = error instanceof InfrastructureError && error.retryable && Date.now() + delay < deadline;
      if (!again) throw error;
    }
    await wait(delay * (0.5 + Math.random() / 2));
  }
}

async function requestOnce({ url, token }: ServerAddress, { method, path, body }: ServerRequest): Promise<unknown> {
  const init: RequestInit = {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/octet-stream' },
    // A redirect would carry the token to somebody else.
    redirect: 'error',
    signal: AbortSignal.timeout(ANSWER_MS),
  };
  try {
    const sent = body ? { ...init, body: body(), duplex: 'half' as const } : init;
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
  }
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
