import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { beforeEach, expect, it, onTestFinished, vi } from 'vitest';
import { request } from '../src/request.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  onTestFinished(() => void vi.useRealTimers());
});

async function startStub(listener: RequestListener): Promise<{ url: string; token: string }> {
  const stub = createServer(listener).listen(0, '127.0.0.1');
  await new Promise((resolve) => stub.once('listening', resolve));
  onTestFinished(() => {
    stub.closeAllConnections();
    stub.close();
  });
  return { url: `http://127.0.0.1:${(stub.address() as AddressInfo).port}`, token: 't' };
}

/** Eight blocks; `ms` pass before each of them is taken. */
function slowBody(ms: number): ReadableStream {
  let left = 8;
  const pull = (out: ReadableStreamDefaultController): void => {
    vi.advanceTimersByTime(ms);
    if (left-- > 0) out.enqueue(Buffer.from('block '));
    else out.close();
  };
  return new ReadableStream({ pull }, { highWaterMark: 0 });
}

it('sends a body for as long as something of it is taken', async () => {
  let received = '';
  const server = await startStub((req, res) => {
    req.setEncoding('utf8').on('data', (text: string) => (received += text));
    req.on('end', () => res.end('{"whole": true}'));
  });
  const body = () => slowBody(40_000);
  expect(await request(server, { method: 'PUT', path: '/', body })).toEqual({ whole: true });
  expect(received).toBe('block '.repeat(8));
});

it('gives up a server that takes nothing more, or does not answer', async () => {
  const silent = await startStub((req) => req.resume().on('end', () => vi.advanceTimersByTime(121_000)));
  const attempt = (ms: number) =>
    request({ ...silent, patienceMs: 0 }, { method: 'PUT', path: '/', body: () => slowBody(ms) });
  await expect(attempt(0)).rejects.toMatchObject({ code: 'server-unreachable', message: /silent for 120 s/ });
  await expect(attempt(121_000)).rejects.toMatchObject({ code: 'server-unreachable' });
});

it('tries once more what broke after a long time', async () => {
  let tries = 0;
  const server = await startStub((req, res) => {
    tries++;
    req.resume().on('end', () => (tries === 1 ? req.socket.destroy() : res.end('{}')));
  });
  const body = () => slowBody(40_000);
  expect(await request(server, { method: 'PUT', path: '/', body })).toEqual({});
  expect(tries).toBe(2);
});
