/** Many large bodies at once: whoever sends them has shown no signature yet, and must not fill the server's memory. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { countReceipts } from '../../src/cli/count-intake.ts';
import { createMetrics } from '../../src/server/metrics.ts';
import { startTestServer, type TestServer } from '../support/test-server.ts';

const MB = 1024 * 1024;
const metrics = createMetrics();
let server: TestServer;
beforeAll(async () => {
  const receive = () => Promise.resolve({ delivery: 'd1', result: 'accepted' as const });
  server = await startTestServer({ receive: countReceipts(metrics, receive) });
});
afterAll(() => server.close());

/** Deliveries that were answered so, as an operator sees them. */
const counted = (result: string, forge = 'gitea'): number => {
  const series = `impgem_intake_total{forge="${forge}",result="${result}"} `;
  const line = metrics
    .render([])
    .split('\n')
    .find((one) => one.startsWith(series));
  return Number(line?.slice(series.length) ?? 0);
};

const deliver = (bytes: number) =>
  fetch(`${server.url}/webhooks/gitea`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: Buffer.alloc(bytes, ' '),
  });

interface Sender {
  /** When the rest is out. */
  sent: Promise<void>;
  /** Sends the last byte; gives the answer. */
  finish(): Promise<string>;
  socket: Socket;
}

/** Sends all of a body but its last byte. */
function sendAlmost(bytes: number): Sender {
  const { port, hostname } = new URL(server.url);
  const socket = connect(Number(port), hostname).setEncoding('utf8');
  socket.on('error', () => undefined);
  let answer = '';
  socket.on('data', (text: string) => (answer += text));
  const head = ['POST /webhooks/gitea HTTP/1.1', 'Host: x', 'Content-Type: application/json', 'Connection: close'];
  socket.write(`${head.join('\r\n')}\r\nContent-Length: ${bytes}\r\n\r\n`);
  const sent = new Promise<void>((resolve) => {
    socket.write(Buffer.alloc(bytes - 1, ' '), () => resolve());
  });
  return {
    sent,
    socket,
    async finish() {
      socket.write(' ');
      await once(socket, 'close');
      return answer;
    },
  };
}

test('the largest make room: they are refused and may come again, everything smaller passes', async () => {
  const senders = Array.from({ length: 8 }, () => sendAlmost(24 * MB));
  try {
    await Promise.all(senders.map(({ sent }) => sent));
    for (const bytes of [8 * 1024, MB, 10 * MB]) expect((await deliver(bytes)).status).toBe(202);
    const answers = await Promise.all(senders.map((sender) => sender.finish()));
    const refused = answers.filter((answer) => answer.startsWith('HTTP/1.1 503'));
    expect(refused.length).toBeGreaterThanOrEqual(1);
    expect(answers.filter((answer) => answer.startsWith('HTTP/1.1 202')).length).toBe(8 - refused.length);
    expect(refused[0]).toMatch(/retry-after: \d/i);
    expect(refused[0]).toContain('bodies-crowded');
    expect(counted('unavailable')).toBe(refused.length);
    expect(counted('accepted')).toBe(3 + 8 - refused.length);
  } finally {
    for (const { socket } of senders) socket.destroy();
  }
  for (let count = 0; count < 8; count++) expect((await deliver(24 * MB)).status).toBe(202);
});

test('bodies that are never finished, and leave no room, keep no delivery out', async () => {
  const senders = [24, 24, 24, 24, 24, 8].map((size) => sendAlmost(size * MB - 1024));
  try {
    await Promise.all(senders.map(({ sent }) => sent));
    for (let count = 0; count < 10; count++) expect((await deliver(16 * 1024)).status).toBe(202);
  } finally {
    for (const { socket } of senders) socket.destroy();
  }
});

test('a body that is too large, or of another type, is counted as refused', async () => {
  const send = (init: RequestInit) => fetch(`${server.url}/webhooks/github`, { method: 'POST', ...init });
  const headers = { 'content-type': 'application/json' };
  expect((await send({ headers, body: Buffer.alloc(25 * MB + 1, ' ') })).status).toBe(413);
  expect((await send({ body: 'x' })).status).toBe(415);
  expect(counted('refused', 'github')).toBe(2);
});
