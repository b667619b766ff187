import { once } from 'node:events';
import { type Server, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Express } from 'express';
import { InfrastructureError, messageOf, systemCode } from '../errors.ts';
import { announceClosing } from './closing.ts';

export interface RunningServer {
  /** `http://host:port`, with the port that was really taken. */
  url: string;
  /** Takes no more requests, ends live streams (clients resume elsewhere), lets the others finish for a moment. */
  close(): Promise<void>;
}

const WHY: Record<string, string> = {
  EADDRINUSE: 'another program listens there; stop it, or set IMPGEM_LISTEN',
  EADDRNOTAVAIL: 'this machine does not have that address; set IMPGEM_LISTEN',
  EACCES: 'ports below 1024 need more rights; set IMPGEM_LISTEN',
  ENOTFOUND: 'no such host; set IMPGEM_LISTEN',
};
/** How long answers under way may take when the server closes. */
const DRAIN_MS = 5_000;

/**
 * Serves the app at `host:port` (`[::1]:8000` for IPv6; port 0 takes a free one).
 * Throws InfrastructureError `listen-failed`.
 */
export async function startServer(app: Express, listen: string): Promise<RunningServer> {
  // A position in a run of many jobs may be long: it comes back in the Last-Event-ID header.
  const server = createServer({ maxHeaderSize: 64 * 1024, noDelay: true, keepAliveTimeout: 65_000 }, app);
  // Whoever sends headers drop by drop is let go; the long limit is for the artifacts of workers on slow lines, other
  // bodies have a shorter one where they are read.
  server.headersTimeout = 20_000;
  server.requestTimeout = 3_600_000;
  await bind(server, listen);
  const address = server.address() as AddressInfo;
  const shown = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return {
    url: `http://${shown}:${address.port}`,
    async close() {
      const closed = once(server, 'close');
      server.close();
      announceClosing(app);
      // A connection kept alive becomes idle only once its answer is out, so one look would miss the live streams.
      const sweep = setInterval(() => server.closeIdleConnections(), 20);
      const cut = setTimeout(() => server.closeAllConnections(), DRAIN_MS);
      await closed;
      clearInterval(sweep);
      clearTimeout(cut);
    },
  };
}

/** Throws InfrastructureError `listen-failed` where startServer would: known before anything else is started. */
export async function checkListen(listen: string): Promise<void> {
  const probe = createServer();
  await bind(probe, listen);
  probe.close();
  await once(probe, 'close');
}

async function bind(server: Server, listen: string): Promise<void> {
  const [, host = '127.0.0.1', port = '0'] = /^\[?([^\]]*)\]?:(\d+)$/.exec(listen) ?? [];
  server.listen(Number(port), host);
  try {
    await once(server, 'listening');
  } catch (error) {
    const why = WHY[systemCode(error)] ?? messageOf(error);
    throw new InfrastructureError('listen-failed', `Cannot listen on ${listen}: ${why}`, { cause: error });
  }
}
