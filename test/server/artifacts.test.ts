import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createArtifactStore } from '../../src/artifacts/artifact-store.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { json, sampleRun, startTestServer, type TestServer, TOKEN } from '../support/test-server.ts';

let server: TestServer;
let id: string;
const TEXT = '0123456789';

const upload = (path: string, body: string | Buffer, query = '', token = TOKEN) =>
  fetch(`${server.url}/api/worker/artifacts/${id}/build?path=${encodeURIComponent(path)}${query}`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/octet-stream' },
    body,
  });
const get = (path: string, headers: Record<string, string> = {}) =>
  server.get(`/api/runs/${id}/artifacts/build/${path}`, headers);

beforeAll(async () => {
  server = await startTestServer();
  const run = sampleRun();
  id = run.id;
  server.runs.put(run);
  for (const [path, body] of [
    ['out/digits.txt', TEXT],
    ['out/page.html', '<script>alert(1)</script>'],
    ["out/ü 'q' (1).txt", 'name'],
    ['empty', ''],
  ] as const)
    expect((await upload(path, body)).status).toBe(200);
});
afterAll(() => server.close());

test('the manifest names what is there', async () => {
  const { artifacts } = await json(await server.get(`/api/runs/${id}/artifacts`));
  expect(artifacts).toHaveLength(4);
  expect(artifacts.find((each: { path: string }) => each.path === 'out/digits.txt')).toMatchObject({
    job: 'build',
    size: 10,
    sha256: '84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882',
  });
});

test('a file is handed over, never shown', async () => {
  const response = await get('out/page.html');
  expect(await response.text()).toBe('<script>alert(1)</script>');
  expect(response.headers.get('content-type')).toBe('application/octet-stream');
  expect(response.headers.get('content-disposition')).toBe("attachment; filename*=UTF-8''page.html");
  expect(response.headers.get('content-security-policy')).toContain('sandbox');
  expect(response.headers.get('x-content-type-options')).toBe('nosniff');
  const odd = await get(encodeURIComponent("out/ü 'q' (1).txt").replaceAll('%2F', '/'));
  expect(odd.headers.get('content-disposition')).toBe("attachment; filename*=UTF-8''%C3%BC%20%27q%27%20%281%29.txt");
  expect(await odd.text()).toBe('name');
});

test.each([
  ['bytes=0-3', 206, '0123', 'bytes 0-3/10'],
  ['bytes=4-', 206, '456789', 'bytes 4-9/10'],
  ['bytes=-3', 206, '789', 'bytes 7-9/10'],
  ['bytes=-99', 206, TEXT, 'bytes 0-9/10'],
  ['bytes=8-99', 206, '89', 'bytes 8-9/10'],
  ['bytes=5-2', 200, TEXT, null],
  ['bytes=0-1,4-5', 200, TEXT, null],
  ['lines=0-1', 200, TEXT, null],
  ['bytes=-', 200, TEXT, null],
  ['bytes=x-y', 200, TEXT, null],
])('Range: %s', async (range, status, body, contentRange) => {
  const response = await get('out/digits.txt', { range });
  expect(response.status).toBe(status);
  expect(response.headers.get('content-range')).toBe(contentRange);
  expect(response.headers.get('content-length')).toBe(String(body.length));
  expect(await response.text()).toBe(body);
});

test.each(['bytes=10-', 'bytes=99-100', 'bytes=-0'])('Range: %s is beyond the file', async (range) => {
  const response = await get('out/digits.txt', { range });
  expect(response.status).toBe(416);
  expect(response.headers.get('content-range')).toBe('bytes */10');
  expect(await json(response)).toMatchObject({ code: 'range-invalid' });
});

test('the hash of the content is its ETag', async () => {
  const etag = (await get('out/digits.txt')).headers.get('etag') ?? '';
  expect((await get('out/digits.txt', { 'if-none-match': etag })).status).toBe(304);
  expect((await get('out/digits.txt', { 'if-range': etag, range: 'bytes=0-1' })).status).toBe(206);
  expect((await get('out/digits.txt', { 'if-range': '"other"', range: 'bytes=0-1' })).status).toBe(200);
});

test('HEAD says how large it is', async () => {
  const response = await fetch(`${server.url}/api/runs/${id}/artifacts/build/out/digits.txt`, { method: 'HEAD' });
  expect(response.status).toBe(200);
  expect(response.headers.get('content-length')).toBe('10');
});

test('an empty file has no ranges', async () => {
  expect(await (await get('empty')).text()).toBe('');
  expect((await get('empty', { range: 'bytes=0-' })).status).toBe(416);
});

test('all of them come as an archive', async () => {
  const response = await server.get(`/api/runs/${id}/artifacts.tar.gz`);
  expect(response.headers.get('content-type')).toBe('application/gzip');
  const tar = gunzipSync(Buffer.from(await response.arrayBuffer())).toString('latin1');
  expect(tar).toContain('build/out/digits.txt');
  expect(tar).toContain(TEXT);
});

test.each([
  ['nope'],
  ['out'],
  ['..%2f..%2f..%2fetc%2fpasswd'],
  ['%2fetc%2fpasswd'],
  ['out/digits.txt%00'],
  ['..%5c..%5cx'],
  ['out//digits.txt'],
])('%s is no artifact', async (path) => {
  const response = await get(path);
  expect([400, 404]).toContain(response.status);
  expect(response.headers.get('content-type')).toContain('application/problem+json');
});

test('an artifact of another run or job is not found', async () => {
  const other = sampleRun();
  server.runs.put(other);
  expect((await server.get(`/api/runs/${other.id}/artifacts/build/out/digits.txt`)).status).toBe(404);
  expect((await server.get(`/api/runs/${id}/artifacts/deploy/out/digits.txt`)).status).toBe(404);
  expect((await server.get(`/api/runs/nope/artifacts.tar.gz`)).status).toBe(404);
});

test.each([
  ['../../x', '', 400],
  ['/etc/passwd', '', 400],
  ['a\\b', '', 400],
  ['', '', 400],
  ['x', '&sha256=' + '0'.repeat(64), 400],
  ['x', '&expiresAt=never', 400],
])('an upload to %s%s is refused', async (path, query, status) => {
  expect((await upload(path, 'x', query)).status).toBe(status);
});

test('an upload needs the token, a known job and the right type', async () => {
  expect((await upload('x', 'x', '', 'wrong')).status).toBe(401);
  const put = (job: string, type: string) =>
    fetch(`${server.url}/api/worker/artifacts/${id}/${job}?path=x`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${TOKEN}`, 'content-type': type },
      body: 'x',
    });
  expect((await put('nope', 'application/octet-stream')).status).toBe(404);
  expect((await put('build', 'text/plain')).status).toBe(415);
});

test('an artifact that expired says so', async () => {
  expect((await upload('old', 'x', '&expiresAt=2020-01-01T00:00:00Z')).status).toBe(200);
  const response = await get('old');
  expect(response.status).toBe(410);
  expect(await json(response)).toMatchObject({ code: 'artifact-expired' });
});

test('an artifact whose content was lost says so, in an answer that ends', async () => {
  const folder = await temporaryFolder();
  const other = await startTestServer({ artifacts: createArtifactStore(folder) });
  try {
    const run = sampleRun();
    other.runs.put(run);
    const content = Readable.from([Buffer.alloc(100_000)]);
    const { sha256 } = await other.deps.artifacts.put(run.id, 'build', { path: 'lost' }, content);
    for (const file of await readdir(folder, { recursive: true }))
      if (file.endsWith(sha256)) await rm(join(folder, file));
    for (const headers of [{}, { range: 'bytes=0-5' }]) {
      const response = await other.get(`/api/runs/${run.id}/artifacts/build/lost`, headers);
      expect(response.status).toBe(500);
      expect(await json(response)).toMatchObject({ code: 'artifact-lost' });
      for (const name of ['etag', 'content-range', 'content-disposition', 'accept-ranges'])
        expect(response.headers.get(name)).toBeNull();
    }
  } finally {
    await other.close();
  }
});
