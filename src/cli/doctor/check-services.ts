/** What is reached over the network: Redis, the forges, our own public address. */
import type { Settings } from '../../config/schema.ts';
import { messageOf } from '../../errors.ts';
import type { Finding } from './finding.ts';

const PATIENCE_MS = 5000;
const LOOPBACK = /^(localhost|127\.[\d.]+|\[::1\])$/;

export async function checkServices(settings: Settings): Promise<Finding[]> {
  return Promise.all([redis(settings), ...forges(settings), publicUrl(settings)]);
}

async function redis(settings: Settings): Promise<Finding> {
  const what = 'redis';
  const url = settings.REDIS_URL;
  if (url === undefined)
    return {
      what,
      state: 'skipped',
      message: 'REDIS_URL is not set: `impgem up` starts a Redis of its own',
      advice: 'Set it for `impgem server` and `impgem worker`.',
    };
  const { checkRedis, connectRedis } = await import('../../queue/connection.ts');
  let trouble = '';
  const client = connectRedis(url, 'patient', (message) => (trouble = message));
  try {
    const checked = checkRedis(client).then((risk) => ({ risk }));
    checked.catch(() => undefined);
    const outcome = await Promise.race([checked, new Promise<'late'>((done) => setTimeout(done, PATIENCE_MS, 'late'))]);
    if (outcome !== 'late' && outcome.risk !== undefined)
      return { what, state: 'warning', message: outcome.risk, advice: 'Change redis.conf, or say CONFIG SET.' };
    if (outcome !== 'late') return { what, state: 'ok', message: 'append-only, evicts nothing' };
    const advice = 'Start it, or correct REDIS_URL.';
    return { what, state: 'failed', message: `does not answer${trouble === '' ? '' : `: ${trouble}`}`, advice };
  } catch (error) {
    return {
      what,
      state: 'failed',
      message: messageOf(error),
      advice: 'Change redis.conf accordingly and restart it.',
    };
  } finally {
    client.disconnect();
  }
}

function forges(settings: Settings): Promise<Finding>[] {
  const gitea = settings.IMPGEM_GITEA_API_URL ?? (settings.IMPGEM_GITEA_URL && `${settings.IMPGEM_GITEA_URL}/api/v1`);
  return [
    forge('github', settings.IMPGEM_GITHUB_API_URL, '/rate_limit', settings.IMPGEM_GITHUB_TOKEN, 'Bearer'),
    ...(gitea?.startsWith('http') ? [forge('gitea', gitea, '/version', settings.IMPGEM_GITEA_TOKEN, 'token')] : []),
  ];
}

async function forge(
  name: string,
  api: string,
  path: string,
  token: string | undefined,
  scheme: string,
): Promise<Finding> {
  const what = `forge ${name}`;
  const headers = token === undefined ? {} : { authorization: `${scheme} ${token}` };
  try {
    const { status } = await get(`${api.replace(/\/$/, '')}${path}`, headers);
    if (token !== undefined && (status === 401 || status === 403))
      return { what, state: 'failed', message: `${api} refuses the token (${status})`, advice: 'Make a new token.' };
    if (status >= 400)
      return {
        what,
        state: 'warning',
        message: `${api} answers ${status}`,
        advice: 'Look at its own status page or log, and try again; check the address if it goes on.',
      };
    if (token !== undefined) return { what, state: 'ok', message: `${api} answers` };
    return {
      what,
      state: 'warning',
      message: `${api} answers; no token is set, so no statuses are posted`,
      advice: `Set IMPGEM_${name.toUpperCase()}_TOKEN, if repositories of yours are there.`,
    };
  } catch (error) {
    const advice = 'Check the address and the way out of this machine (proxy, firewall).';
    const state = token === undefined ? 'skipped' : 'failed';
    return { what, state, message: `${api} cannot be reached: ${reasonOf(error)}`, advice };
  }
}

async function publicUrl(settings: Settings): Promise<Finding> {
  const what = 'public address';
  const url = settings.IMPGEM_PUBLIC_URL;
  if (url === undefined)
    return {
      what,
      state: 'warning',
      message: 'IMPGEM_PUBLIC_URL is not set: links in commit statuses lead to the address listened on',
      advice: 'Set it to the address by which the forge and people reach the server.',
    };
  const hooks = ['github', ...(settings.IMPGEM_GITEA_URL === undefined ? [] : ['gitea'])].map(
    (name) => `${url.replace(/\/$/, '')}/webhooks/${name}`,
  );
  try {
    for (const hook of hooks) {
      const { status, isOurs } = await deliverUnsigned(hook);
      if (!isOurs) {
        const message = `a delivery to ${hook} does not reach the server: what answers says ${status}`;
        return {
          what,
          state: 'failed',
          message,
          advice: 'Let the proxy in front pass POST /webhooks/ on as it comes.',
        };
      }
    }
    return { what, state: 'ok', message: `the server takes deliveries at ${hooks.join(' and ')}` };
  } catch (error) {
    const message = `${url} cannot be reached from here: ${reasonOf(error)}`;
    // It means this machine alone, or this container alone: what is there elsewhere cannot be told from here.
    if (LOOPBACK.test(new URL(url).hostname))
      return {
        what,
        state: 'warning',
        message,
        advice: 'Start the server; set it to an address by which a forge on another machine reaches it.',
      };
    return {
      what,
      state: 'failed',
      message: `${message}; from where a forge cannot reach it either, no push is seen`,
      advice: 'Start the server, check name, port and proxy. If this machine alone is shut out, look from another one.',
    };
  }
}

/** As a forge delivers, but without a signature: only our server refuses it in these words. */
async function deliverUnsigned(hook: string): Promise<{ status: number; isOurs: boolean }> {
  const answer = await fetch(hook, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{}',
    redirect: 'manual',
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  const isProblem = answer.headers.get('content-type')?.startsWith('application/problem+json') === true;
  if (answer.status !== 401 || !isProblem) {
    await answer.body?.cancel();
    return { status: answer.status, isOurs: false };
  }
  return { status: 401, isOurs: (await answer.text()).includes('urn:impgem:error:signature-missing') };
}

async function get(url: string, headers: Record<string, string>): Promise<{ status: number }> {
  const answer = await fetch(url, { headers, redirect: 'manual', signal: AbortSignal.timeout(PATIENCE_MS) });
  await answer.body?.cancel();
  return { status: answer.status };
}

/** fetch says "fetch failed" and keeps why as its cause. */
function reasonOf(error: unknown): string {
  return error instanceof Error && error.cause !== undefined ? messageOf(error.cause) : messageOf(error);
}
