/** GitHub's list of the deliveries of a webhook, and what its button "Redeliver" does. */
import type { RedeliverRequest, RedeliverResult } from './forge.ts';
import { FORGE_TIMEOUT_MS, type StatusTarget, failure, retryAfter, untilReset, withoutToken } from './post-status.ts';

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

interface Stop {
  result: RedeliverResult;
  /** HTTP status, when there was an answer. */
  status?: number;
}

interface Answer {
  /** Why to ask for nothing more now. */
  stop?: Stop;
  /** The request was answered with success, be it the last for now. */
  isTaken?: true;
  body?: unknown;
  cursor?: string;
}

/** Never throws. Remembers the ids of webhooks, so that a look at a repository is one request mostly. */
export function createRedeliver(target: StatusTarget): (request: RedeliverRequest) => Promise<RedeliverResult> {
  const hooks = new Map<string, string[]>();

  const look = async (request: RedeliverRequest, base: string, sent: string[]): Promise<Stop | undefined> => {
    let known = hooks.get(base);
    if (known === undefined) {
      const { stop, body } = await ask(target, 'GET', `${base}?per_page=100`, request.signal);
      if (stop) return stop;
      known = hooksOf(body, request.isOurs);
      // Without one of ours it is looked for again the next time.
      if (known.length > 0) hooks.set(base, known);
    }
    for (const hook of known) {
      const stop = await redeliverOf(target, `${base}/${hook}/deliveries`, request, sent);
      if (!stop) continue;
      // The webhook may be another one now.
      hooks.delete(base);
      return stop;
    }
    return undefined;
  };

  return async (request) => {
    const base = `/repos/${encodeURIComponent(request.owner)}/${encodeURIComponent(request.name)}/hooks`;
    const sent: string[] = [];
    const wasKnown = hooks.has(base);
    let stop = await look(request, base, sent);
    // The webhook that we knew is gone: whether there is a new one is another question.
    if (wasKnown && stop?.status === 404) stop = await look(request, base, sent);
    return stop ? { ...stop.result, sent } : { kind: 'done', sent };
  };
}

/** Gives why it stopped before its end, if it did. */
async function redeliverOf(
  target: StatusTarget,
  deliveries: string,
  request: RedeliverRequest,
  sent: string[],
): Promise<Stop | undefined> {
  const attempts: Attempt[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < PAGES && (page === 0 || cursor !== undefined); page++) {
    const more = cursor === undefined ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const answer = await ask(target, 'GET', `${deliveries}?per_page=100${more}`, request.signal);
    if (answer.stop) return answer.stop;
    const found = attemptsOf(answer.body);
    attempts.push(...found);
    cursor = found.some(({ at }) => Date.now() - at > KEPT_MS) ? undefined : answer.cursor;
  }
  for (const { id, guid } of failedOf(attempts, Date.now())) {
    if (sent.length === MOST_AT_ONCE) return undefined;
    if (!(await request.maySend(guid))) continue;
    const answer = await ask(target, 'POST', `${deliveries}/${id}/attempts`, request.signal);
    if (answer.isTaken) sent.push(guid);
    if (answer.stop) return answer.stop;
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
  const timeout = AbortSignal.timeout(FORGE_TIMEOUT_MS);
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
    if (method === 'POST') return { ...(response.ok ? { isTaken: true } : {}), ...(stop ? { stop } : {}) };
    if (stop) return { stop };
    const cursor = /[?&]cursor=([^&>]+)[^>]*>;\s*rel="next"/.exec(response.headers.get('link') ?? '')?.[1];
    // Ids may be longer than a number is exact.
    const body: unknown = JSON.parse(text.replace(/("id":\s*)(\d{15,})/g, '$1"$2"'));
    return { body, ...(cursor === undefined ? {} : { cursor: decodeURIComponent(cursor) }) };
  } catch (error) {
    const { message } = withoutToken(failure(error, timeout.aborted), target.token);
    return { stop: { result: { kind: 'later', message, sent: [] } } };
  }
}

/** Whether to go on after this answer. */
function stopOf({ ok, status, headers }: Response): Stop | undefined {
  const waitMs = retryAfter(headers);
  const message = `the forge answered ${status}`;
  if (!ok) {
    const kind = waitMs === undefined && [401, 403, 404].includes(status) ? 'refused' : 'later';
    return { status, result: { kind, message, sent: [], ...(waitMs === undefined ? {} : { waitMs }) } };
  }
  const [limit, remaining] = ['limit', 'remaining'].map((name) =>
    Number(headers.get(`x-ratelimit-${name}`) ?? NaN),
  ) as [number, number];
  const resetMs = untilReset(headers);
  if (!(remaining < limit * RESERVED) || resetMs === undefined) return undefined;
  const spare = `${remaining} requests are left of ${limit}, which are for statuses`;
  return { status, result: { kind: 'later', message: spare, sent: [], waitMs: resetMs } };
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
