import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { beforeEach, expect, it, onTestFinished, vi } from 'vitest';
import { InfrastructureError, LostJobError } from '../src/errors.ts';
import { type Patience, request, type ServerRequest } from '../src/request.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  onTestFinished(() => void vi.useRealTimers());
});

const never = (): AbortSignal => new AbortController().signal;
const send = (server: { url: string; token: string }, asked: ServerRequest, patience: Partial<Patience> = {}) =>
  request(server, { lost: never(), enough: never(), ...patience }, asked);

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
  expect(await send(server, { method: 'PUT', path: '/', body })).toEqual({ whole: true });
  expect(received).toBe('block '.repeat(8));
});

it('gives up a try whose server takes nothing more, or does not answer', async () => {
  let tries = 0;
  const server = await startStub((req, res) => {
    tries++;
    req.resume().on('end', () => (tries === 3 ? res.end('{}') : vi.advanceTimersByTime(121_000)));
  });
  const bodies = [0, 121_000, 0];
  // The first is silent at its end, the second in its middle.
  const body = () => slowBody(bodies.shift() ?? 0);
  expect(await send(server, { method: 'PUT', path: '/', body })).toEqual({});
  expect(tries).toBe(3);
});

it('tries once more what broke after a long time', async () => {
  let tries = 0;
  const server = await startStub((req, res) => {
    tries++;
    req.resume().on('end', () => (tries === 1 ? req.socket.destroy() : res.end('{}')));
  });
  const body = () => slowBody(40_000);
  expect(await send(server, { method: 'PUT', path: '/', body })).toEqual({});
  expect(tries).toBe(2);
});

it('waits for a server that is away for as long as it takes', async () => {
  // Each try is short.
  vi.useRealTimers();
  vi.useFakeTimers({ toFake: ['performance'] });
  let tries = 0;
  const server = await startStub((_, res) => {
    vi.advanceTimersByTime(600_000);
    res.writeHead(++tries < 4 ? 503 : 200).end('{}');
  });
  expect(await send(server, { method: 'GET', path: '/' })).toEqual({});
  expect(tries).toBe(4);
});

it('ends at once when the job is lost: between two tries, and in the middle of one', async () => {
  const lost = new LostJobError('job main of run r');
  for (const answer of [503, undefined]) {
    const job = new AbortController();
    const server = await startStub((_, res) => {
      if (answer !== undefined)
        res
          .once('close', () => job.abort(lost))
          .writeHead(answer)
          .end();
      else job.abort(lost);
    });
    await expect(send(server, { method: 'GET', path: '/' }, { lost: job.signal })).rejects.toBe(lost);
    await expect(send(server, { method: 'GET', path: '/' }, { lost: job.signal })).rejects.toBe(lost);
  }
});

it('tries once more when it has been enough, and leaves a silent server soon', async () => {
  const enough = new AbortController();
  let tries = 0;
  const server = await startStub((_, res) => {
    if (++tries < 3) return void res.writeHead(503).end('{"detail":"The disk is full."}');
    enough.abort();
    vi.advanceTimersByTime(5001);
  });
  const once = () => send(server, { method: 'GET', path: '/' }, { enough: enough.signal });
  await expect(once()).rejects.toMatchObject({ code: 'server-unreachable', message: /silent for 5 s/ });
  expect(tries).toBe(3);
  tries = 0;
  await expect(once()).rejects.toThrow('The disk is full.');
  expect(tries).toBe(1);
});

it('makes what the server refuses a failure of ours, and tries it once', async () => {
  for (const [status, code, expected] of [
    [401, 'token-wrong', 'token-refused'],
    [403, 'token-wrong', 'token-refused'],
    [404, 'run-unknown', 'run-unknown'],
    [409, 'log-gap', 'log-gap'],
    [418, undefined, 'server-refused'],
  ] as const) {
    let tries = 0;
    const server = await startStub((_, res) => {
      tries++;
      res.writeHead(status).end(JSON.stringify({ code, detail: 'No.' }));
    });
    const error: unknown = await send(server, { method: 'GET', path: '/' }).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(InfrastructureError);
    expect(error).toMatchObject({ code: expected, retryable: false });
    expect(tries).toBe(1);
  }
});
