import { afterAll, beforeAll, expect, test } from 'vitest';
import { json, sampleRun, startTestServer, type TestServer, TOKEN } from '../support/test-server.ts';

let server: TestServer;
let id: string;

beforeAll(async () => {
  server = await startTestServer();
  const run = sampleRun();
  id = run.id;
  run.jobs[0]!.attempt = 2;
  run.jobs[0]!.name = 'build (20, linux)';
  server.runs.put(run);
  const write = (job: string, attempt: number, part: string, text: string) =>
    server.write({ run: id, job, attempt, part }, text);
  await write('', 1, 'run', 'a note of the run\n');
  await write('build', 1, '0', 'first try\n');
  await write('build', 2, 'job', 'attempt 2: worker w1 was lost\n');
  await write('build', 2, '1', 'tested');
  await write('build', 2, '0', 'compiled\n');
  await write('build', 2, 'service-redis', 'ready\n');
  await write('deploy', 1, '0', 'shipped\n');
});
afterAll(() => server.close());

test.each([
  ['?job=build&step=compile', 'compiled\n'],
  ['?job=build&step=0', 'compiled\n'],
  ['?job=build&step=0&attempt=1', 'first try\n'],
  ['?job=build+(20,+linux)&step=test', 'tested'],
  ['?job=build&step=service-redis', 'ready\n'],
  ['?job=deploy&step=service-none', ''],
  ['?job=build', 'attempt 2: worker w1 was lost\ncompiled\ntestedready\n'],
  ['?job=build&attempt=1', 'first try\n'],
  [
    '',
    [
      '=== run',
      'a note of the run',
      '=== build (20, linux) / job (attempt 2)',
      'attempt 2: worker w1 was lost',
      '=== build (20, linux) / compile (attempt 2)',
      'compiled',
      '=== build (20, linux) / test (attempt 2)',
      'tested',
      '=== build (20, linux) / service-redis (attempt 2)',
      'ready',
      '=== deploy / ship',
      'shipped\n',
    ].join('\n'),
  ],
])('logs%s', async (query, expected) => {
  const response = await server.get(`/api/runs/${id}/logs${query}`);
  expect(response.headers.get('content-type')).toBe('text/plain; charset=utf-8');
  expect(await response.text()).toBe(expected);
});

test.each([
  ['?job=nope', 404, 'job-unknown'],
  ['?job=build&step=nope', 404, 'step-unknown'],
  ['?job=build&step=9', 404, 'step-unknown'],
  ['?job=build&step=../../x', 404, 'step-unknown'],
  ['?job=build&step=service-../../x', 404, 'step-unknown'],
  ['?job=build&attempt=3', 404, 'attempt-unknown'],
  ['?job=build&attempt=0', 400, 'query-invalid'],
  ['?job=build&attempt=x', 400, 'query-invalid'],
  ['?step=compile', 400, 'job-missing'],
  ['?job=a&job=b', 400, 'query-invalid'],
])('logs%s is refused', async (query, status, code) => {
  const response = await server.get(`/api/runs/${id}/logs${query}`);
  expect(response.status).toBe(status);
  expect(await json(response)).toMatchObject({ code });
});

test('bytes that are no text are handed out as they are', async () => {
  const run = sampleRun();
  server.runs.put(run);
  const bytes = Buffer.from([0, 1, 0xff, 0x1b, 0x5b, 0x33, 0x31, 0x6d, 10]);
  await server.write({ run: run.id, job: 'build', attempt: 1, part: '0' }, bytes);
  const response = await server.get(`/api/runs/${run.id}/logs?job=build&step=0`);
  expect(Buffer.from(await response.arrayBuffer())).toEqual(bytes);
});

const worker = (method: string, path: string, body?: Buffer, token = TOKEN) =>
  fetch(`${server.url}/api/worker/logs/${path}`, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body ? { 'content-type': 'application/octet-stream' } : {}),
    },
    ...(body ? { body } : {}),
  });

test('a worker on another machine writes a log', async () => {
  const run = sampleRun();
  server.runs.put(run);
  const path = `${run.id}/build/1/0`;
  expect(await json(await worker('GET', path))).toEqual({ length: 0 });
  expect((await worker('PUT', `${path}?offset=0`, Buffer.from('abc'))).status).toBe(200);
  expect(await json(await worker('PUT', `${path}?offset=0`, Buffer.from('abcdef')))).toEqual({ length: 6 });
  const gap = await worker('PUT', `${path}?offset=9`, Buffer.from('x'));
  expect([gap.status, (await json(gap)).code]).toEqual([409, 'log-gap']);
  expect((await worker('POST', `${path}/close`)).status).toBe(204);
  expect((await worker('PUT', `${path}?offset=6`, Buffer.from('x'))).status).toBe(409);
  expect(await (await server.get(`/api/runs/${run.id}/logs?job=build&step=0`)).text()).toBe('abcdef');
  expect((await worker('PUT', `${run.id}/-/1/run?offset=0`, Buffer.from('note'))).status).toBe(200);
});

test.each([
  ['PUT', 'ID/build/1/0', 400, 'query-invalid'],
  ['PUT', 'ID/build/1/0?offset=-1', 400, 'query-invalid'],
  ['PUT', 'ID/build/1/..%2f..%2fx?offset=0', 400, 'log-key'],
  ['PUT', 'ID/build/x/0?offset=0', 400, 'log-key'],
  ['PUT', 'ID/other/1/0?offset=0', 404, 'run-unknown'],
  ['PUT', 'nope/build/1/0?offset=0', 404, 'run-unknown'],
  ['GET', 'nope/build/1/0', 404, 'run-unknown'],
])('a worker is refused %s %s', async (method, path, status, code) => {
  const response = await worker(method, path.replace('ID', id), method === 'PUT' ? Buffer.from('x') : undefined);
  expect(response.status).toBe(status);
  expect(await json(response)).toMatchObject({ code });
});

test('a worker needs the token', async () => {
  for (const method of ['GET', 'PUT'])
    expect((await worker(method, `${id}/build/1/0?offset=0`, undefined, 'wrong')).status).toBe(401);
  expect((await worker('POST', `${id}/build/1/0/close`, undefined, 'wrong')).status).toBe(401);
});
