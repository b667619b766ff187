import { messageOf } from '../errors.ts';
import type { CommitStatus, PostResult } from './forge.ts';

export interface StatusTarget {
  /** `https://api.github.com`, `https://git.example.com/api/v1`. */
  apiUrl: string;
  headers: Record<string, string>;
  /** Never shown, whatever the forge answers. */
  token?: string;
}

/** For an answer of a forge's API. */
export const FORGE_TIMEOUT_MS = 10_000;
/** What a forge asks for is honoured up to here; GitHub's limits reset within the hour. */
const LONGEST_WAIT_MS = 2 * 3_600_000;
const DESCRIPTION_LIMIT = 140;
const ANSWER_LIMIT = 16_384;

/** Sets a commit status: GitHub and Gitea take the same body at the same path. Never throws. */
export async function postStatus(target: StatusTarget, status: CommitStatus): Promise<PostResult> {
  const url = `${target.apiUrl.replace(/\/+$/, '')}/repos/${status.repository}/statuses/${status.sha}`;
  const timeout = AbortSignal.timeout(FORGE_TIMEOUT_MS);
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'user-agent': 'impgem', ...target.headers },
      body: JSON.stringify({
        state: status.state,
        context: status.context,
        description: cutDescription(status.description),
        target_url: status.targetUrl,
      }),
      // A redirect could lead inside our network, or carry the token elsewhere.
      redirect: 'error',
      signal: timeout,
    });
    const answer = await readAnswer(response);
    return response.ok ? { ok: true } : withoutToken(refusal(response, answer), target.token);
  } catch (error) {
    return withoutToken(failure(error, timeout.aborted), target.token);
  }
}

/** At most 140 characters (code points), the last an ellipsis when something is cut; control characters become spaces. */
export function cutDescription(text: string): string {
  const points = Array.from(text.replace(/\p{Cc}+/gu, ' '));
  return points.length <= DESCRIPTION_LIMIT ? points.join('') : `${points.slice(0, DESCRIPTION_LIMIT - 1).join('')}…`;
}

/** ms to wait according to `Retry-After` (seconds or a date) or the rate-limit headers; undefined when neither says. */
export function retryAfter(headers: Headers): number | undefined {
  const after = headers.get('retry-after')?.trim();
  if (after) {
    const ms = /^\d{1,9}$/.test(after) ? Number(after) * 1000 : msUntil(Date.parse(after), headers);
    if (Number.isFinite(ms)) return Math.min(ms, LONGEST_WAIT_MS);
  }
  return headers.get('x-ratelimit-remaining') === '0' ? untilReset(headers) : undefined;
}

/** ms until the rate limit begins anew; undefined when the forge does not say. */
export function untilReset(headers: Headers): number | undefined {
  const reset = headers.get('x-ratelimit-reset') ?? '';
  return /^\d{1,12}$/.test(reset) ? Math.min(msUntil(Number(reset) * 1000, headers), LONGEST_WAIT_MS) : undefined;
}

/** By the clock of the forge, which named the time: ours may be set otherwise. */
function msUntil(time: number, headers: Headers): number {
  const now = Date.parse(headers.get('date') ?? '');
  return Math.max(0, time - (Number.isNaN(now) ? Date.now() : now));
}

function refusal(response: Response, answer: string): PostResult & { ok: false } {
  const { status, headers } = response;
  const retryAfterMs = retryAfter(headers);
  // GitHub answers 403 to a rate limit as well as to a missing right; only the former says when to come back.
  const isLimit = status === 429 || (status === 403 && (retryAfterMs !== undefined || /rate limit/i.test(answer)));
  const retry = isLimit || status >= 500 || status === 408;
  const message = `the forge answered ${status}${hint(status, isLimit)}${answer === '' ? '' : `: ${answer}`}`;
  return { ok: false, retry, status, message, ...(retry && retryAfterMs !== undefined ? { retryAfterMs } : {}) };
}

function hint(status: number, isLimit: boolean): string {
  if (isLimit) return ' (rate limit)';
  if (status === 401) return ' (is the token right?)';
  if (status === 403) return ' (may the token write commit statuses?)';
  if (status === 404) return ' (is the repository gone, or may the token not see it?)';
  return status === 422 ? ' (too many statuses for this commit and context, or no such commit)' : '';
}

/** A request that got no answer. */
export function failure(error: unknown, timedOut: boolean): PostResult & { ok: false } {
  if (timedOut)
    return { ok: false, retry: true, message: `the forge did not answer within ${FORGE_TIMEOUT_MS / 1000} s` };
  const cause = error instanceof Error && error.cause !== undefined ? messageOf(error.cause) : messageOf(error);
  if (/redirect/i.test(cause))
    return {
      ok: false,
      retry: false,
      message: 'the forge answered with a redirect, which is not followed: check its API address',
    };
  return { ok: false, retry: true, message: `the forge cannot be reached: ${cause}` };
}

/** The forge's own `message`, or the beginning of what it said; one line. */
async function readAnswer(response: Response): Promise<string> {
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk as Uint8Array, { stream: true });
    if (text.length > ANSWER_LIMIT) break;
  }
  let said: unknown = text;
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed === 'object' && parsed !== null && 'message' in parsed) said = parsed.message;
  } catch {
    said = text; // Not JSON: a proxy's page.
  }
  return (typeof said === 'string' ? said : '')
    .replace(/\p{Cc}+/gu, ' ')
    .trim()
    .slice(0, 200);
}

export function withoutToken<T extends { message: string }>(result: T, token: string | undefined): T {
  return token ? { ...result, message: result.message.replaceAll(token, '***') } : result;
}
