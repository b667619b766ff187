/** Many large bodies at once: whoever sends them has shown no signature yet, and must not fill the server's memory. */
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { startTestServer, type TestServer } from '../support/test-server.ts';

const MB = 1024 * 1024;
let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server.close());

const deliver = (bytes: number) =>
  fetch(`${server.url}/webhooks/gitea`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: Buffer.alloc(bytes, ' '),
  });

/** Sends all of a body but its last byte. */
function sendAlmost(bytes: number): Socket {
  const { port, hostname } = new URL(server.url);
  const socket = connect(Number(port), hostname);
  socket.on('error', () => undefined);
  socket.write(
    `POST /webhooks/gitea HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${bytes}\r\n\r\n`,
  );
  socket.write(Buffer.alloc(bytes - 1, ' '));
  return socket;
}

test('what is too much is refused and may come again; small deliveries pass, and all do once there is room', async () => {
  const senders = Array.from({ length: 5 }, () => sendAlmost(24 * MB));
  try {
    const refused = await vi.waitFor(
      async () => {
        const response = await deliver(10 * MB);
        // It may be one of the senders that there was no room for: another takes its place.
        if (response.status !== 503) senders.push(sendAlmost(24 * MB));
        expect(response.status).toBe(503);
        return response;
      },
      { timeout: 30_000 },
    );
    expect(refused.headers.get('retry-after')).not.toBeNull();
    expect(await refused.json()).toMatchObject({ code: 'bodies-crowded' });
    expect((await deliver(MB)).status).toBe(202);
  } finally {
    for (const sender of senders) sender.destroy();
  }
  await vi.waitFor(async () => expect((await deliver(10 * MB)).status).toBe(202), { timeout: 30_000 });
});
