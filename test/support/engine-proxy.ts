/** A way to the machine's Docker engine that can be cut, as that to an engine far away can; the engine itself goes on. */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ENGINE = process.env['DOCKER_HOST']?.replace(/^unix:\/\//, '') ?? '/var/run/docker.sock';

export interface EngineProxy {
  /** As in DOCKER_HOST. */
  host: string;
  /** Ends what is connected; whoever connects again gets through. */
  cut(): void;
  /** Ends what is connected, and answers nobody until `open`. */
  shut(): void;
  open(): void;
  /** The next request that matches is not answered. */
  dropOnce(request: RegExp): void;
  /** The engine does what such a request asks, but takes so long to say so; 0: as quick as it is. */
  delay(request: RegExp, ms: number): void;
  /** Settles when a request has come that matches. */
  asked(request: RegExp): Promise<void>;
  close(): Promise<void>;
}

export async function startEngineProxy(): Promise<EngineProxy> {
  const folder = await mkdtemp(join(tmpdir(), 'impgem-engine-proxy-'));
  const socketPath = join(folder, 'docker.sock');
  const clients = new Set<Socket>();
  const waiting = new Map<RegExp, () => void>();
  let isOpen = true;
  let dropped: RegExp | undefined;
  let slow: { request: RegExp; ms: number } | undefined;

  const server = createServer({ allowHalfOpen: true }, (client) => {
    clients.add(client);
    client.on('error', () => undefined).on('close', () => clients.delete(client));
    const engine = connect({ path: ENGINE, allowHalfOpen: true });
    engine.on('error', () => client.destroy()).on('close', () => client.destroy());
    client.on('close', () => engine.destroy());
    client.on('data', (bytes) => {
      const request = bytes.toString('latin1');
      for (const [pattern, tell] of waiting) if (pattern.test(request)) tell();
      if (slow?.request.test(request) === true) {
        engine.unpipe(client);
        setTimeout(() => engine.pipe(client), slow.ms).unref();
      }
      if (isOpen && dropped?.test(request) !== true) {
        engine.write(bytes);
        return;
      }
      if (isOpen) dropped = undefined;
      client.destroy();
    });
    client.on('end', () => engine.end());
    engine.pipe(client);
  });
  server.listen(socketPath);
  await once(server, 'listening');
  const cut = (): void => {
    for (const client of clients) client.destroy();
  };
  return {
    host: `unix://${socketPath}`,
    cut,
    shut() {
      isOpen = false;
      cut();
    },
    open() {
      isOpen = true;
    },
    dropOnce(request) {
      dropped = request;
    },
    delay(request, ms) {
      slow = { request, ms };
    },
    asked: (request) => new Promise((resolve) => waiting.set(request, resolve)),
    async close() {
      server.close();
      cut();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
