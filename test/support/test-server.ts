/** The real HTTP server on a free loopback port, over a run store in memory and a real log store in a folder of its own. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { createArtifactStore } from '../../src/artifacts/artifact-store.ts';
import { createLogStore } from '../../src/logs/log-store.ts';
import type { Job, LogKey, RunRecord } from '../../src/runs/run.ts';
import type { AppDeps } from '../../src/server/app-deps.ts';
import { createApp } from '../../src/server/app.ts';
import { startServer } from '../../src/server/start-server.ts';
import { createMemoryRunStore, type MemoryRunStore } from './memory-run-store.ts';

export const TOKEN = 'test-token-0123456789';

export interface TestServer {
  url: string;
  runs: MemoryRunStore;
  deps: AppDeps;
  /** What the server logged, one JSON line each. */
  logged: string[];
  /** Appends text or bytes to a log, and says so on the feed as a worker does. */
  write(key: LogKey, content: string | Buffer): Promise<void>;
  /** Closes a log, and says so on the feed. */
  finish(key: LogKey): Promise<void>;
  get(path: string, headers?: Record<string, string>): Promise<Response>;
  /** A write with the token. */
  post(path: string, body?: unknown, headers?: Record<string, string>): Promise<Response>;
  close(): Promise<void>;
}

export async function startTestServer(overrides: Partial<AppDeps> = {}): Promise<TestServer> {
  const folder = await mkdtemp(join(tmpdir(), 'impgem-server-'));
  const runs = createMemoryRunStore();
  const logs = createLogStore(join(folder, 'logs'));
  const logged: string[] = [];
  const deps: AppDeps = {
    runs,
    logs,
    artifacts: createArtifactStore(join(folder, 'artifacts')),
    receive: async (_forge, _headers, readBody) => {
      await readBody();
      return { delivery: 'd1', result: 'accepted' };
    },
    trigger: () => Promise.resolve([]),
    workers: { list: () => Promise.resolve([]), setDrained: () => Promise.resolve(false) },
    ready: () => Promise.resolve({ ok: true, checks: { redis: 'ok' } }),
    metrics: () => Promise.resolve('impgem_runs 1\n'),
    apiToken: TOKEN,
    publicUrl: () => 'http://localhost',
    assets: join(folder, 'assets'),
    log: pino({ level: 'info' }, { write: (line: string) => logged.push(line) }),
    ...overrides,
  };
  const server = await startServer(createApp(deps), '127.0.0.1:0');
  const announce = async (key: LogKey) => {
    const stat = await logs.stat(key);
    runs.announce({ kind: 'log', ...key, length: stat?.length ?? 0, closed: stat?.closed ?? false });
  };
  return {
    url: server.url,
    runs,
    deps,
    logged,
    async write(key, content) {
      await logs.append(key, await logs.length(key), Buffer.from(content as string));
      await announce(key);
    },
    async finish(key) {
      await logs.close(key);
      await announce(key);
    },
    get: (path, headers) => fetch(server.url + path, headers ? { headers } : {}),
    post: (path, body, headers) =>
      fetch(server.url + path, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${TOKEN}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      }),
    async close() {
      await server.close();
      await logs.dispose();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** The body of an answer, whose shape the test asserts. */
export async function json(response: Response): Promise<ReturnType<typeof JSON.parse>> {
  return JSON.parse(await response.text());
}

/** A run of two jobs, `build` (steps compile, test) and `deploy`, which needs it; running unless told otherwise. */
export function sampleRun(overrides: Partial<RunRecord> = {}): RunRecord {
  const id = randomBytes(8).toString('hex');
  const job = (name: string, needs: string[], steps: string[]): Job => ({
    id: name,
    name,
    needs,
    state: needs.length > 0 ? 'pending' : 'running',
    attempt: 1,
    steps: steps.map((step) => ({ name: step, state: 'pending' })),
  });
  return {
    id,
    number: 7,
    repository: 'gitea/ann/app',
    event: 'push',
    ref: 'refs/heads/main',
    branch: 'main',
    sha: 'a'.repeat(40),
    message: 'Make it work\n\nand say why',
    author: 'Ann',
    state: 'running',
    createdAt: '2026-11-24T06:00:00.000Z',
    startedAt: '2026-11-24T06:00:01.000Z',
    jobs: [job('build', [], ['compile', 'test']), job('deploy', ['build'], ['ship'])],
    version: 1,
    source: {
      kind: 'push',
      repository: 'gitea/ann/app',
      ref: 'refs/heads/main',
      message: 'Make it work',
      author: 'Ann',
      receivedAt: '2026-11-24T06:00:00.000Z',
    },
    control: { build: { fence: 3, losses: 0, retries: 0 }, deploy: { fence: 0, losses: 0, retries: 0 } },
    ...overrides,
  };
}
