/** GitHub's API of webhooks and their deliveries, as far as a CI may use it. A redelivery really sends the body again. */
export interface FakeDelivery {
  id: string;
  guid: string;
  delivered_at: string;
  status_code: number;
  event: string;
  body: string;
}

export interface FakeHook {
  id: number;
  /** `owner/name`. */
  repository: string;
  url: string;
  active?: boolean;
  secret: string;
  /** The newest first. */
  deliveries: FakeDelivery[];
}

export interface HookAnswer {
  status: number;
  headers?: Record<string, string>;
  /** JSON text; ids of deliveries are as long as GitHub's may be. */
  body: string;
}

let attempts = 9_007_199_254_740_993n;
/** What is so old, in seconds, and was answered with this status. */
export function fakeDelivery(guid: string, status: number, ageSeconds: number, body = '{}'): FakeDelivery {
  const at = new Date(Date.now() - ageSeconds * 1000).toISOString();
  return { id: String(attempts++), guid, delivered_at: at, status_code: status, event: 'push', body };
}

export interface FakeHooks {
  hooks: FakeHook[];
  /** Deliveries on a page. */
  pageSize: number;
}

/** Undefined for a request that is about no webhook. */
export async function answerHooks(
  { hooks, pageSize }: FakeHooks,
  sign: (secret: string, delivery: FakeDelivery) => Record<string, string>,
  method: string | undefined,
  address: string | undefined,
): Promise<HookAnswer | undefined> {
  const { pathname, searchParams } = new URL(address ?? '/', 'http://forge');
  const match = /^\/repos\/([^/]+\/[^/]+)\/hooks(?:\/(\d+)\/deliveries(?:\/(\d+)\/attempts)?)?$/.exec(pathname);
  if (!match) return undefined;
  const [, repository, hookId, deliveryId] = match;
  const own = hooks.filter((hook) => hook.repository === repository);
  if (hookId === undefined)
    return {
      status: 200,
      body: JSON.stringify(
        own.map(({ id, url, active = true }) => ({ id, active, config: { url, secret: '********' } })),
      ),
    };
  const hook = own.find(({ id }) => String(id) === hookId);
  if (!hook) return { status: 404, body: '{"message":"Not Found"}' };
  if (deliveryId === undefined && method === 'GET') {
    const from = Number(searchParams.get('cursor')?.replace('v1_', '') ?? 0);
    const page = hook.deliveries.slice(from, from + pageSize);
    const next = `<https://api.github.com${pathname}?cursor=v1_${from + pageSize}&per_page=100>; rel="next"`;
    return {
      status: 200,
      headers: from + pageSize < hook.deliveries.length ? { link: next } : {},
      body: `[${page.map(({ id, body: _, ...rest }) => `{"id": ${id}, ${JSON.stringify(rest).slice(1)}`).join()}]`,
    };
  }
  const old = hook.deliveries.find(({ id }) => id === deliveryId);
  if (!old || method !== 'POST') return { status: 404, body: '{"message":"Not Found"}' };
  const again = { ...old, id: String(attempts++), delivered_at: new Date().toISOString() };
  const sent = { method: 'POST', headers: sign(hook.secret, old), body: old.body };
  again.status_code = await fetch(hook.url, sent).then(
    ({ status }) => status,
    () => 0,
  );
  hook.deliveries.unshift(again);
  return { status: 202, body: '{}' };
}
