import { request } from 'node:http';
import { hostname } from 'node:os';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type TestServer, startTestServer } from '../support/test-server.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer({ publicUrl: () => 'https://ci.example.com/impgem' });
});
afterAll(() => server.close());

/** Of a browser that was made to ask us under this name; fetch does not let us say it. */
function ask(path: string, host: string, method = 'GET'): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const { port } = new URL(server.url);
    const asked = request({ host: '127.0.0.1', port, path, method, headers: { host } }, (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => (body += chunk.toString()));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
    });
    asked.on('error', reject).end();
  });
}

test.each([
  ...['127.0.0.1:8000', '[::1]:8000', '10.0.0.7', 'localhost', 'LOCALHOST:8000', 'app.localhost:8000', 'server:8000'],
  ...['ci.example.com', 'CI.example.com:443', hostname()],
])('%s is a name of ours', async (host) => {
  for (const path of ['/api/workers', '/api/runs']) expect((await ask(path, host)).status).toBe(200);
});

test.each([
  ...['evil.example', 'evil.example:8000', '127.0.0.1.nip.io', 'localhost.evil.example', 'ci.example.com.evil.example'],
  ...['evilci.example.com', 'x@y', 'a b', 'localhost.evil.example@localhost'],
])('a page at %j does not get to read anything', async (host) => {
  for (const path of ['/', '/api/runs', '/api/workers', '/assets/x.js', '/nowhere']) {
    const { status, body } = await ask(path, host);
    expect([path, status]).toEqual([path, 421]);
    expect(body).toContain('IMPGEM_PUBLIC_URL');
  }
});

test('what proves itself otherwise, or says nothing, may come by any name: deliveries and health', async () => {
  expect((await ask('/readyz', 'tunnel.example')).status).toBe(200);
  // Refused for what it is, not for the name.
  expect((await ask('/webhooks/gitea', 'tunnel.example', 'POST')).status).toBe(415);
});
