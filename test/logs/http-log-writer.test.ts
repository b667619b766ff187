import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createHttpLogWriter } from '../../src/logs/http-log-writer.ts';
import { TOKEN, sampleRun, startTestServer, type TestServer } from '../support/test-server.ts';

async function setUp() {
  const server: TestServer = await startTestServer();
  onTestFinished(() => server.close());
  const run = sampleRun();
  server.runs.put(run);
  const key = { run: run.id, job: 'build', attempt: 1, part: '0' };
  return { server, key, writer: createHttpLogWriter({ url: `${server.url}/`, token: TOKEN }, ONCE) };
}

async function startStub(listener: RequestListener): Promise<string> {
  const stub = createServer(listener).listen(0, '127.0.0.1');
  await new Promise((resolve) => stub.once('listening', resolve));
  onTestFinished(() => void stub.close());
  return `http://127.0.0.1:${(stub.address() as AddressInfo).port}`;
}

/** Tried once. */
const ONCE = { lost: new AbortController().signal, enough: AbortSignal.abort() };
const PATIENT = { lost: ONCE.lost, enough: new AbortController().signal };

const KEY = { run: 'r', job: '', attempt: 0, part: 'run' };

describe('createHttpLogWriter', () => {
  it('writes through a real server what a reader finds in its store', async () => {
    const { server, key, writer } = await setUp();
    expect(await writer.length(key)).toBe(0);
    const bytes = Buffer.alloc(2_500_000, '0123456789\n');
    await writer.append(key, 0, bytes);
    await writer.append(key, bytes.length, Buffer.from('end\n'));
    await writer.append(key, bytes.length, Buffer.from('end\n'));
    expect(await writer.length(key)).toBe(bytes.length + 4);
    await writer.close(key);
    expect(await server.deps.logs.stat(key)).toEqual({ length: bytes.length + 4, closed: true });
    const stored: Buffer[] = [];
    for await (const block of server.deps.logs.read(key, 0, bytes.length)) stored.push(block);
    expect(Buffer.concat(stored).equals(bytes)).toBe(true);
  });

  it("hands on the store's errors under their codes", async () => {
    const { server, key, writer } = await setUp();
    await expect(writer.append(key, 5, Buffer.from('x'))).rejects.toMatchObject({ code: 'log-gap' });
    await writer.append(key, 0, Buffer.from('abc'));
    await expect(writer.append(key, 0, Buffer.from('xyz'))).rejects.toMatchObject({ code: 'log-differs' });
    await writer.close(key);
    await expect(writer.append(key, 3, Buffer.from('x'))).rejects.toMatchObject({ code: 'log-closed' });
    const stranger = createHttpLogWriter({ url: server.url, token: 'not-the-token-000' }, ONCE);
    await expect(stranger.length(key)).rejects.toMatchObject({ code: 'token-refused' });
  });

  it('goes on trying while the server is away, and writes everything once', async () => {
    const seen: string[] = [];
    let length = 0;
    const url = await startStub((req, res) => {
      seen.push(`${req.method} ${req.url}`);
      const body: Buffer[] = [];
      req.on('data', (block: Buffer) => body.push(block));
      req.on('end', () => {
        const turn = seen.length;
        if (turn === 1) return void res.writeHead(503).end('<html>starting</html>');
        length = Buffer.concat(body).length;
        // Stored, but the answer never arrives.
        if (turn === 2) return void res.destroy();
        res.end(JSON.stringify({ length }));
      });
    });
    const writer = createHttpLogWriter({ url, token: 't' }, PATIENT);
    await writer.append(KEY, 0, Buffer.from('hello'));
    expect(seen).toEqual(Array.from({ length: 3 }, () => 'PUT /api/worker/logs/r/-/0/run?offset=0'));
    expect(length).toBe(5);
  });

  it('gives up when patience ends, and says why', async () => {
    const url = await startStub((_, res) =>
      res.writeHead(503).end(JSON.stringify({ code: 'disk-full', detail: 'The disk is full.' })),
    );
    const writer = createHttpLogWriter({ url, token: 't' }, ONCE);
    await expect(writer.length(KEY)).rejects.toMatchObject({ code: 'server-unreachable', retryable: true });
    await expect(writer.length(KEY)).rejects.toThrow('The disk is full.');
  });

  it('follows no redirect with its token', async () => {
    const asked: (string | undefined)[] = [];
    const other = await startStub((req, res) => {
      asked.push(req.headers.authorization);
      res.end('{"length":1}');
    });
    const url = await startStub((_, res) => res.writeHead(302, { location: other }).end());
    await expect(createHttpLogWriter({ url, token: 't' }, ONCE).length(KEY)).rejects.toThrow();
    expect(asked).toEqual([]);
  });

  it('takes no answer for a length that is none', async () => {
    const url = await startStub((_, res) => res.end('{"length":"5"}'));
    await expect(createHttpLogWriter({ url, token: 't' }, PATIENT).length(KEY)).rejects.toMatchObject({
      code: 'server-answer',
    });
  });
});
