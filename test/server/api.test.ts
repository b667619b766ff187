import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { InfrastructureError, InputError } from '../../src/errors.ts';
import type { ForgeName } from '../../src/runs/event.ts';
import { json, sampleRun, startTestServer, type TestServer, TOKEN } from '../support/test-server.ts';

let server: TestServer;
const received: { forge: ForgeName; body: string }[] = [];
let receiveError: Error | undefined;

beforeAll(async () => {
  server = await startTestServer({
    receive: async (forge, headers, readBody) => {
      received.push({ forge, body: (await readBody()).toString() });
      if (receiveError) throw receiveError;
      return { delivery: String(headers['x-github-delivery']), result: 'accepted' };
    },
    trigger: (repository, ref) => {
      if (ref === 'missing') return Promise.reject(new InputError('ref-unknown', 'No such ref.', { status: 404 }));
      if (ref === 'empty') return Promise.resolve([]);
      const runs = [sampleRun({ repository, ref }), sampleRun({ repository, ref, pipeline: 'nightly' })];
      for (const run of runs) server.runs.put(run);
      return Promise.resolve(runs);
    },
  });
});
afterAll(() => server.close());

const hook = (body: string | Buffer, headers: Record<string, string> = {}) =>
  fetch(`${server.url}/webhooks/github`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-github-delivery': 'd-1', ...headers },
    body,
  });

async function expectProblem(response: Response, status: number, code: string) {
  const text = await response.text();
  expect(response.status, text).toBe(status);
  expect(response.headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
  const problem = JSON.parse(text);
  expect(Object.keys(problem)).toEqual(['type', 'title', 'status', 'detail', 'code', 'instance']);
  expect(problem).toMatchObject({ status, code, type: `urn:impgem:error:${code}` });
  expect(text).not.toMatch(/\.ts:|node_modules|\\n *at /);
  return problem;
}

/** Sends bytes as they are and gives what came back when the server closed the connection. */
async function raw(request: string): Promise<string> {
  const { hostname, port } = new URL(server.url);
  const socket = connect(Number(port), hostname);
  socket.write(request);
  let answer = '';
  socket.on('data', (data) => (answer += data.toString()));
  await once(socket, 'close');
  return answer;
}

test('a delivery is handed on as it came and answered 202', async () => {
  received.length = 0;
  const response = await hook('{ "a": 1 }', { 'content-type': 'application/json; charset=utf-8' });
  expect(response.status).toBe(202);
  expect(await json(response)).toEqual({ delivery: 'd-1', result: 'accepted' });
  expect(received).toEqual([{ forge: 'github', body: '{ "a": 1 }' }]);
  await fetch(`${server.url}/webhooks/gitea`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{}',
  });
  expect(received[1]?.forge).toBe('gitea');
});

test.each([
  ['26 MB', Buffer.alloc(26 * 1024 * 1024, '1'), {}, 413, 'body-too-large'],
  [
    '26 MB of a wrong type',
    Buffer.alloc(26 * 1024 * 1024, '1'),
    { 'content-type': 'text/plain' },
    413,
    'body-too-large',
  ],
  [
    'a form',
    'payload=%7B%7D',
    { 'content-type': 'application/x-www-form-urlencoded' },
    415,
    'content-type-unsupported',
  ],
  ['no type', Buffer.from('{}'), { 'content-type': '' }, 415, 'content-type-unsupported'],
  ['a look-alike type', '{}', { 'content-type': 'application/jsonp' }, 415, 'content-type-unsupported'],
  ['gzip', '{}', { 'content-encoding': 'gzip' }, 415, 'content-type-unsupported'],
])('a delivery of %s is refused before anyone looks at it', async (_name, body, headers, status, code) => {
  received.length = 0;
  await expectProblem(await hook(body, headers), status, code);
  expect(received).toEqual([]);
});

test('a body that grows beyond the limit without having said so is refused', async () => {
  received.length = 0;
  let sent = 0;
  const body = new ReadableStream({
    pull(controller) {
      if (sent++ < 26) controller.enqueue(new Uint8Array(1024 * 1024));
      else controller.close();
    },
  });
  const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body, duplex: 'half' };
  await expectProblem(await fetch(`${server.url}/webhooks/github`, init as RequestInit), 413, 'body-too-large');
  expect(received).toEqual([]);
});

test('a body of announced 10 GB is refused before it comes', async () => {
  const answer = await raw(
    'POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10000000000\r\nConnection: close\r\n\r\n',
  );
  expect(answer).toMatch(/^HTTP\/1.1 413 /);
});

test('25 MB exactly is taken', async () => {
  expect((await hook(Buffer.alloc(25 * 1024 * 1024, ' '))).status).toBe(202);
});

test('what intake refuses or cannot keep becomes a problem', async () => {
  receiveError = new InputError('signature-invalid', 'The signature does not fit.', { status: 401 });
  await expectProblem(await hook('{}'), 401, 'signature-invalid');
  receiveError = new InfrastructureError('queue-unreachable', 'The queue is not reachable.', { retryable: true });
  const response = await hook('{}');
  expect(response.headers.get('retry-after')).toBe('5');
  await expectProblem(response, 503, 'queue-unreachable');
  receiveError = new TypeError('secret internals at /srv/x.ts:3');
  const problem = await expectProblem(await hook('{}'), 500, 'internal');
  expect(JSON.stringify(problem)).not.toContain('secret');
  expect(server.logged.join()).toContain('secret internals');
  receiveError = undefined;
});

test('a run is shown field by field, nothing internal with it', async () => {
  const run = sampleRun({ reason: 'why', delivery: 'd-1' });
  server.runs.put(run);
  const { version, source, control, ...shown } = run;
  const answer = await json(await server.get(`/api/runs/${run.id}`));
  expect(answer).toEqual(shown);
  const { runs } = await json(await server.get(`/api/runs?limit=1`));
  expect(runs).toEqual([shown]);
});

test('runs are listed newest first, filtered, page by page', async () => {
  const repository = 'github/list/ed';
  const ids = Array.from({ length: 5 }, (_, number) => {
    const run = sampleRun({ repository, number, branch: number % 2 ? 'odd' : 'even' });
    server.runs.put(run);
    return run.id;
  }).reverse();
  const seen: string[] = [];
  let next: string | undefined = '';
  while (next !== undefined) {
    const page: { runs: { id: string }[]; next?: string } = await json(
      await server.get(`/api/runs?repository=${repository}&limit=2${next === '' ? '' : `&cursor=${next}`}`),
    );
    seen.push(...page.runs.map((run) => run.id));
    next = page.next;
  }
  expect(seen).toEqual(ids);
  const odd = await json(await server.get(`/api/runs?repository=${repository}&branch=odd&state=running`));
  expect(odd.runs).toHaveLength(2);
});

test.each([
  ['limit=0', 'query-invalid'],
  ['limit=101', 'query-invalid'],
  ['limit=ten', 'query-invalid'],
  ['limit=1e1', 'query-invalid'],
  ['limit=-1', 'query-invalid'],
  ['limit=5&limit=6', 'query-invalid'],
  ['state=done', 'query-invalid'],
  ['repository=ann/app', 'query-invalid'],
  ['state[]=failed&state[]=running&state=x', 'query-invalid'],
  ['cursor=nonsense', 'cursor-invalid'],
  ['cursor=%00', 'cursor-invalid'],
  [`branch=${'x'.repeat(400)}`, 'query-invalid'],
])('the list refuses ?%s', async (query, code) => {
  await expectProblem(await server.get(`/api/runs?${query}`), 400, code);
});

test.each([
  ['/api/runs/nope', 'run-unknown'],
  ['/api/runs/..%2f..%2fetc%2fpasswd', 'run-unknown'],
  ['/api/runs/%00', 'run-unknown'],
  [`/api/runs/${'x'.repeat(5000)}`, 'run-unknown'],
  ['/api/runs/__proto__', 'run-unknown'],
  ['/api/runs/nope/logs', 'run-unknown'],
  ['/api/runs/nope/artifacts', 'run-unknown'],
  ['/api/deliveries/nope', 'delivery-unknown'],
  ['/api/deliveries/%0a', 'delivery-unknown'],
  ['/nothing/here', 'not-found'],
  ['/api', 'not-found'],
])('%s is not there', async (path, code) => {
  const problem = await expectProblem(await server.get(path), 404, code);
  expect(problem.instance).toBe(path);
});

test('an address that is not UTF-8 is a mistake of the caller', async () => {
  await expectProblem(await server.get('/api/runs/%ff'), 400, 'path-invalid');
});

test.each([
  ['GET', '/webhooks/github', 'POST'],
  ['DELETE', '/api/runs', 'GET, HEAD, POST'],
  ['PUT', '/api/runs/x', 'GET, HEAD'],
  ['GET', '/api/runs/x/cancel', 'POST'],
  ['POST', '/livez', 'GET, HEAD'],
])('%s %s is not possible', async (method, path, allow) => {
  const response = await fetch(server.url + path, { method });
  expect(response.headers.get('allow')).toBe(allow);
  await expectProblem(response, 405, 'method-not-allowed');
});

test('a delivery says what became of it', async () => {
  const delivery = {
    id: '72d3162e-cc78-11e3-81ab-4c9367dc0958',
    forge: 'github',
    event: 'push',
    receivedAt: '2026-11-24T06:00:00.000Z',
    state: 'ignored' as const,
    reason: 'a branch was deleted',
    runs: [],
  };
  server.runs.putDelivery(delivery);
  expect(await json(await server.get(`/api/deliveries/${delivery.id}`))).toEqual(delivery);
  const other = { ...delivery, forge: 'gitea', reason: 'another forge, the same id' };
  server.runs.putDelivery(other);
  expect(await json(await server.get(`/api/deliveries/${delivery.id}?forge=gitea`))).toEqual(other);
  expect(await json(await server.get(`/api/deliveries/${delivery.id}?forge=github`))).toEqual(delivery);
  await expectProblem(await server.get(`/api/deliveries/${delivery.id}?forge=gitlab`), 400, 'query-invalid');
});

test.each([
  [{}, 401, 'token-missing'],
  [{ authorization: 'Bearer ' }, 401, 'token-missing'],
  [{ authorization: `Basic ${TOKEN}` }, 401, 'token-missing'],
  [{ authorization: 'Bearer wrong' }, 401, 'token-invalid'],
  [{ authorization: `Bearer ${TOKEN}x` }, 401, 'token-invalid'],
  [{ authorization: `Bearer ${TOKEN.slice(0, -1)}` }, 401, 'token-invalid'],
])('a write with %o is refused', async (headers, status, code) => {
  const run = sampleRun();
  server.runs.put(run);
  for (const path of [
    '/api/workers/w1/drain',
    '/api/workers/w1/resume',
    '/api/runs',
    `/api/runs/${run.id}/cancel`,
    `/api/runs/${run.id}/rerun`,
  ]) {
    const response = await fetch(server.url + path, { method: 'POST', headers });
    expect(response.headers.get('www-authenticate')).toContain('Bearer');
    await expectProblem(response, status, code);
  }
  expect((await server.runs.get(run.id))?.state).toBe('running');
});

test('a server without a token takes no writes and says how to allow them', async () => {
  const closed = await startTestServer({ apiToken: undefined } as unknown as Parameters<typeof startTestServer>[0]);
  const response = await closed.post('/api/runs', {});
  const problem = await expectProblem(response, 403, 'token-not-configured');
  expect(problem.detail).toContain('IMPGEM_API_TOKEN');
  await closed.close();
});

test('a manual run is created', async () => {
  const response = await server.post('/api/runs', { repository: 'gitea/ann/app', ref: 'main' });
  expect(response.status).toBe(201);
  const run = await json(response);
  expect(response.headers.get('location')).toBe(`/api/runs/${run.id}`);
  expect(run).toMatchObject({ repository: 'gitea/ann/app', ref: 'main' });
  expect(run.runs).toHaveLength(2);
  expect(run.runs[0]).toBe(run.id);
});

test.each([
  ['{', 400, 'json-invalid'],
  ['[]', 400, 'json-invalid'],
  ['null', 400, 'json-invalid'],
  ['{"repository":"gitea/a/b"}', 422, 'field-invalid'],
  ['{"repository":7,"ref":"main"}', 422, 'field-invalid'],
  ['{"repository":"gitea/a/b","ref":"a\\u0000b"}', 422, 'field-invalid'],
  ['{"repository":"gitea/../b","ref":"main"}', 422, 'repository-invalid'],
  ['{"repository":"https://x/y","ref":"main"}', 422, 'repository-invalid'],
  ['{"repository":"gitea/a/b","ref":"main","extra":1}', 400, 'field-unknown'],
  ['{"__proto__":{"repository":"gitea/a/b"},"ref":"main"}', 400, 'field-unknown'],
  ['{"repository":"gitea/a/b","ref":"missing"}', 404, 'ref-unknown'],
  ['{"repository":"gitea/a/b","ref":"empty"}', 422, 'pipeline-missing'],
  [`{"ref":"${'x'.repeat(70_000)}"}`, 413, 'body-too-large'],
])('a manual run of %s is refused', async (body, status, code) => {
  await expectProblem(await server.post('/api/runs', body), status, code);
});

test('a manual run that is not JSON by name or not UTF-8 is refused', async () => {
  await expectProblem(
    await server.post('/api/runs', '{}', { 'content-type': 'text/plain' }),
    415,
    'content-type-unsupported',
  );
  const body = Buffer.concat([Buffer.from('{"repository":"'), Buffer.from([0xff]), Buffer.from('"}')]);
  const headers = { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' };
  await expectProblem(await fetch(`${server.url}/api/runs`, { method: 'POST', headers, body }), 400, 'json-invalid');
});

test('cancel ends a run once; after that it changes nothing', async () => {
  const run = sampleRun();
  server.runs.put(run);
  const first = await server.post(`/api/runs/${run.id}/cancel`);
  expect(first.status).toBe(202);
  expect(await json(first)).toMatchObject({ state: 'cancelled' });
  const second = await server.post(`/api/runs/${run.id}/cancel`, {});
  expect(second.status).toBe(200);
  expect(await json(second)).toMatchObject({ state: 'cancelled' });
  await expectProblem(await server.post('/api/runs/nope/cancel'), 404, 'run-unknown');
  const { detail } = await expectProblem(
    await server.post(`/api/runs/${run.id}/cancel`, { x: 1 }),
    400,
    'field-unknown',
  );
  expect(detail).toBe('The body has the unknown field "x"; it may have no fields.');
});

test('a re-run is a new run', async () => {
  const run = sampleRun();
  server.runs.put(run);
  for (const body of [undefined, {}, { jobs: 'all' }, { jobs: 'failed' }, { jobs: { job: 'build' } }]) {
    const response = await server.post(`/api/runs/${run.id}/rerun`, body);
    expect(response.status).toBe(201);
    const created = await json(response);
    expect(created).toMatchObject({ rerunOf: run.id, state: 'pending' });
    expect(response.headers.get('location')).toBe(`/api/runs/${created.id}`);
  }
  for (const jobs of ['some', 3, null, [], { job: 3 }, {}, ['build']])
    await expectProblem(await server.post(`/api/runs/${run.id}/rerun`, { jobs }), 422, 'field-invalid');
  await expectProblem(await server.post(`/api/runs/${run.id}/rerun`, { jobs: { job: 'x' } }), 422, 'job-unknown');
});

test('health and metrics', async () => {
  expect((await server.get('/livez')).status).toBe(200);
  expect(await json(await server.get('/readyz'))).toEqual({ ok: true, checks: { redis: 'ok' } });
  await expectProblem(await server.get('/metrics'), 401, 'token-missing');
  const metrics = await server.get('/metrics', { authorization: `Bearer ${TOKEN}` });
  expect(await metrics.text()).toBe('impgem_runs 1\n');

  const ill = await startTestServer({
    metricsToken: 'metrics-only-0123456789',
    ready: () => Promise.resolve({ ok: false, checks: { redis: 'not reachable' } }),
  });
  const ready = await ill.get('/readyz');
  expect(ready.status).toBe(503);
  expect(await json(ready)).toEqual({ ok: false, checks: { redis: 'not reachable' } });
  expect((await ill.get('/metrics', { authorization: 'Bearer metrics-only-0123456789' })).status).toBe(200);
  expect((await ill.post('/api/runs', {}, { authorization: 'Bearer metrics-only-0123456789' })).status).toBe(401);
  await ill.close();
});

test('every answer carries the headers that keep a browser out of trouble', async () => {
  for (const path of ['/livez', '/api/runs', '/nothing']) {
    const { headers } = await server.get(path);
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('content-security-policy')).toContain("frame-ancestors 'none'");
    expect(headers.get('referrer-policy')).toBe('no-referrer');
    expect(headers.get('x-powered-by')).toBeNull();
    expect(headers.get('access-control-allow-origin')).toBeNull();
  }
});
