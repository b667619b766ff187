/** GitHub's list of the deliveries of a webhook, and what its button "Redeliver" does. */
import type { RedeliverRequest, RedeliverResult } from './forge.ts';
import { type StatusTarget, failure, retryAfter, withoutToken } from './post-status.ts';

const TIMEOUT_MS = 10_000;
/** A page of 100 deliveries is some 60 KB. */
const ANSWER_LIMIT = 4 * 1024 ** 2;
/** GitHub sends nothing again that is older. */
const KEPT_MS = 3 * 24 * 3_600_000;
/** What failed this short a time ago somebody may be sending again just now. */
const YOUNG_MS = 30_000;
const PAGES = 3;
/** First try included. */
const MOST_TRIES = 4;
const MOST_AT_ONCE = 20;
/** This share of the requests that the token has in an hour is left for statuses. */
const RESERVED = 0.25;

interface Attempt {
  id: string;
  /** The same for every try of one delivery. */
  guid: string;
  /** ms since 1970. */
  at: number;
  /** 0: no answer. */
  status: number;
}

type Answer = { ok: true; body: unknown; cursor?: string } | { ok: false; result: RedeliverResult };

/** Never throws. Remembers the ids of webhooks, so that a look at a repository is one request mostly. */
export function createRedeliver(target: StatusTarget): (request: RedeliverRequest) => Promise<RedeliverResult> {
  const hooks = new Map<string, string[]>();

  return async (request) => {
    const base = `/repos/${encodeURIComponent(request.owner)}/${encodeURIComponent(request.name)}/hooks`;
    let known = hooks.get(base);
    if (known === undefined) {
      const answer = await ask(target, 'GET', `${base}?per_page=100`, request.signal);
      if (!answer.ok) return answer.result;
      known = hooksOf(answer.body, request.isOurs);
      // Without one of ours it is looked for again the next time.
      if (known.length > 0) hooks.set(base, known);
    }
    const sent: string[] = [];
    for (const hook of known) {
      const stop = await redeliverOf(target, `${base}/${hook}/deliveries`, request, sent);
      if (!stop) continue;
      // The webhook may be another one now.
      hooks.delete(base);
      return { ...stop, sent };
    }
    return { kind: 'done', sent };
  };
}

/** Gives why it stopped before its end, if it did. */
async function redeliverOf(
  target: StatusTarget,
  deliveries: string,
  request: RedeliverRequest,
  sent: string[],
): Promise<RedeliverResult | undefined> {
  const attempts: Attempt[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < PAGES && (page === 0 || cursor !== undefined); page++) {
    const more = cursor === undefined ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const answer = await ask(target, 'GET', `${deliveries}?per_page=100${more}`, request.signal);
    if (!answer.ok) return answer.result;
    const found = attemptsOf(answer.body);
    attempts.push(...found);
    cursor = found.some(({ at }) => Date.now() - at > KEPT_MS) ? undefined : answer.cursor;
  }
  for (const { id, guid } of failedOf(attempts, Date.now())) {
    if (sent.length === MOST_AT_ONCE) return undefined;
    if (!(await request.maySend(guid))) continue;
    const answer = await ask(target, 'POST', `${deliveries}/${id}/attempts`, request.signal);
    if (!answer.ok) return answer.result;
    sent.push(guid);
  }
  return undefined;
}

/**
 * The deliveries of which no try was answered with success, the oldest first. What we refused is not sent again: we
 * would refuse it again.
 */
function failedOf(attempts: readonly Attempt[], now: number): Attempt[] {
  const byGuid = new Map<string, Attempt[]>();
  for (const attempt of attempts) byGuid.set(attempt.guid, [...(byGuid.get(attempt.guid) ?? []), attempt]);
  const failed: Attempt[] = [];
  for (const tries of byGuid.values()) {
    const [newest] = tries.sort((a, b) => b.at - a.at);
    if (!newest || tries.length >= MOST_TRIES || tries.some(({ status }) => status >= 200 && status < 300)) continue;
    const mayHelp = newest.status < 300 || newest.status >= 500 || newest.status === 408 || newest.status === 429;
    if (mayHelp && now - newest.at > YOUNG_MS && now - newest.at < KEPT_MS) failed.push(newest);
  }
  return failed.sort((a, b) => a.at - b.at);
}

async function ask(target: StatusTarget, method: 'GET' | 'POST', path: string, signal: AbortSignal): Promise<Answer> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  try {
    const response = await fetch(target.apiUrl.replace(/\/+$/, '') + path, {
      method,
      headers: { 'user-agent': 'impgem', ...target.headers },
      // A redirect could lead inside our network, or carry the token elsewhere.
      redirect: 'error',
      signal: AbortSignal.any([signal, timeout]),
    });
    const text = await readText(response);
    const stop = stopOf(response);
    if (stop) return { ok: false, result: stop };
    const cursor = /[?&]cursor=([^&>]+)[^>]*>;\s*rel="next"/.exec(response.headers.get('link') ?? '')?.[1];
    // Ids may be longer than a number is exact.
    const body: unknown = method === 'POST' ? undefined : JSON.parse(text.replace(/("id":\s*)(\d{15,})/g, '$1"$2"'));
    return { ok: true, body, ...(cursor === undefined ? {} : { cursor: decodeURIComponent(cursor) }) };
  } catch (error) {
    const { message } = withoutToken(failure(error, timeout.aborted), target.token);
    return { ok: false, result: { kind: 'later', message, sent: [] } };
  }
}

/** Whether to go on after this answer. */
function stopOf({ ok, status, headers }: Response): RedeliverResult | undefined {
  const waitMs = retryAfter(headers);
  const message = `the forge answered ${status}`;
  if (!ok) {
    const isRefusal = waitMs === undefined && [401, 403, 404].includes(status);
    return { kind: isRefusal ? 'refused' : 'later', message, sent: [], ...(waitMs === undefined ? {} : { waitMs }) };
  }
  const [limit, remaining, reset] = ['limit', 'remaining', 'reset'].map((name) =>
    Number(headers.get(`x-ratelimit-${name}`) ?? NaN),
  ) as [number, number, number];
  if (!(remaining < limit * RESERVED) || Number.isNaN(reset)) return undefined;
  return {
    kind: 'later',
    message: `${remaining} requests are left of ${limit}, which are for statuses`,
    sent: [],
    waitMs: Math.max(0, reset * 1000 - Date.now()),
  };
}

async function readText(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk as Uint8Array, { stream: true });
    if (text.length > ANSWER_LIMIT) throw new Error('its answer is too long');
  }
  return text;
}

function hooksOf(body: unknown, isOurs: (url: string) => boolean): string[] {
  return listOf(body).flatMap(({ id, active, config }) => {
    const url = typeof config === 'object' && config !== null && 'url' in config ? config.url : undefined;
    return active !== false && isId(id) && typeof url === 'string' && isOurs(url) ? [String(id)] : [];
  });
}

function attemptsOf(body: unknown): Attempt[] {
  return listOf(body).flatMap(({ id, guid, delivered_at: at, status_code: status }) =>
    isId(id) && typeof guid === 'string' && typeof at === 'string' && typeof status === 'number'
      ? [{ id: String(id), guid, at: Date.parse(at), status }]
      : [],
  );
}

function listOf(body: unknown): Record<string, unknown>[] {
  return Array.isArray(body)
    ? body.filter((one): one is Record<string, unknown> => typeof one === 'object' && one !== null)
    : [];
}

function isId(id: unknown): id is number | string {
  return /^\d{1,24}$/.test(String(id));
}
