/** A small stand-in for Gitea's commit status API, on a real socket: shows what a forge would have been told. */
import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';

export interface ArrivedStatus {
  repository: string;
  sha: string;
  context: string;
  state: string;
  description: string;
  target_url: string;
}

export interface StandInForge {
  url: string;
  statuses: ArrivedStatus[];
  /** Resolves when `enough` is true of what has arrived, or after `timeoutMs`. */
  until(enough: (statuses: ArrivedStatus[]) => boolean, timeoutMs: number): Promise<void>;
  close(): void;
}

const BODY_LIMIT = 64 * 1024;

export async function startStandInForge(): Promise<StandInForge> {
  const statuses: ArrivedStatus[] = [];
  const waiting = new Set<() => void>();
  const server = createServer((request, response) => {
    const match = /^\/api\/v1\/repos\/([^/]+\/[^/]+)\/statuses\/([0-9a-f]+)$/.exec(request.url ?? '');
    let text = '';
    request.setEncoding('utf8');
    request.on('data', (chunk: string) => {
      text = (text + chunk).slice(0, BODY_LIMIT);
    });
    request.on('end', () => {
      if (!match || request.method !== 'POST') {
        response.writeHead(404).end();
        return;
      }
      const body = JSON.parse(text) as Omit<ArrivedStatus, 'repository' | 'sha'>;
      statuses.push({ repository: match[1] ?? '', sha: match[2] ?? '', ...body });
      response.writeHead(201, { 'content-type': 'application/json' }).end(text);
      for (const wake of waiting) wake();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    statuses,
    async until(enough, timeoutMs) {
      if (enough(statuses)) return;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeoutMs);
        const wake = (): void => {
          if (!enough(statuses)) return;
          waiting.delete(wake);
          clearTimeout(timer);
          resolve();
        };
        waiting.add(wake);
      });
    },
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
