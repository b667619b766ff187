/** The product as its users run it: built processes over a private Redis, a real git remote over HTTP, and a forge's statuses API. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Run } from '../../src/runs/run.ts';
import { type FakeForge, signDelivery, startFakeForge } from './fake-forge.ts';
import { type GitServer, type TestRepository, makeRepository, startGitServer } from './git-http.ts';
import { type TestRedis, startRedis } from './redis.ts';

export const SECRET = 'a-webhook-secret';
export const TOKEN = 'an-api-token-of-the-tests';

export interface Process {
  pid: number;
  lines: string[];
  /** Resolves with the first line, past or future, that matches. */
  said(pattern: RegExp): Promise<string>;
  stop(signal?: NodeJS.Signals): Promise<number | null>;
  /** Its exit code, once it ends by itself. */
  ended: Promise<number | null>;
}

export interface Product {
  url: string;
  folder: string;
  redis: TestRedis;
  forge: FakeForge;
  git: GitServer;
  server: Process;
  startServer(env?: Record<string, string>): Promise<Process>;
  startWorker(env?: Record<string, string>): Promise<Process>;
  repository(name: string): Promise<TestRepository>;
  /** Commits, and sends the webhook that Gitea would send; gives the delivery's id. */
  push(
    name: string,
    files: Record<string, string | undefined>,
    options?: { branch?: string; message?: string },
  ): Promise<{ delivery: string; sha: string }>;
  send(
    event: string,
    body: object,
    headers?: Record<string, string>,
  ): Promise<{ status: number; body: { delivery: string; result: string; reason?: string } }>;
  api<T>(path: string, init?: RequestInit): Promise<T>;
  /** The value of a metric; `labels` as they stand in the braces. */
  metric(name: string, labels?: string): Promise<number>;
  /** The run of a delivery, as soon as `until` is true of it. */
  runOf(delivery: string, until?: (run: Run) => boolean): Promise<Run>;
  stop(): Promise<void>;
}

const FINAL = ['succeeded', 'failed', 'cancelled', 'skipped', 'errored'];
export const isOver = (run: Run): boolean => FINAL.includes(run.state);

export async function startProduct(env: Record<string, string> = {}): Promise<Product> {
  const folder = await mkdtemp(join(tmpdir(), 'impgem-e2e-'));
  const redis = await startRedis();
  const forge = await startFakeForge();
  const git = await startGitServer({ root: join(folder, 'git') });
  const processes: Process[] = [];
  const repositories = new Map<string, TestRepository>();
  const common = {
    PATH: process.env['PATH'] ?? '',
    HOME: folder,
    REDIS_URL: redis.url,
    IMPGEM_DATA: join(folder, 'data'),
    IMPGEM_LISTEN: '127.0.0.1:0',
    IMPGEM_WEBHOOK_SECRET: SECRET,
    IMPGEM_API_TOKEN: TOKEN,
    IMPGEM_GITEA_URL: git.url,
    IMPGEM_GITEA_API_URL: `${forge.url}/api/v1`,
    IMPGEM_GITEA_TOKEN: 'forge-token',
    IMPGEM_GITHUB_URL: git.url,
    IMPGEM_GITHUB_API_URL: forge.apiUrl,
    IMPGEM_EXECUTOR: 'sandbox',
    IMPGEM_WORKER_NAME: 'w1',
    ...env,
  };

  const start = async (command: string, ready: RegExp, more: Record<string, string> = {}): Promise<Process> => {
    const started = startProcess(command, { ...common, ...more });
    processes.push(started);
    await started.said(ready);
    return started;
  };

  const product: Product = {
    url: '',
    folder,
    redis,
    forge,
    git,
    server: undefined as never,
    async startServer(more) {
      const server = await start('server', /"listening"|listening/, more);
      product.server = server;
      product.url = /"url":"([^"]+)"/.exec(await server.said(/listening/))?.[1] ?? '';
      return server;
    },
    startWorker: (more) => start('worker', /worker ready/, more),
    async repository(name) {
      const known = repositories.get(name) ?? (await makeRepository(join(folder, 'git'), name));
      repositories.set(name, known);
      return known;
    },
    async push(name, files, options = {}) {
      const repository = await product.repository(name);
      const { branch = 'main', message = 'Change' } = options;
      const before = await repository
        .git('rev-parse', '-q', '--verify', `refs/heads/${branch}`)
        .catch(() => '0'.repeat(40));
      const sha = await repository.commit(files, options);
      const { body } = await product.send('push', pushBody(name, branch, before, sha, message));
      return { delivery: body.delivery, sha };
    },
    async send(event, body, headers = {}) {
      const text = JSON.stringify(body);
      const response = await fetch(`${product.url}/webhooks/gitea`, {
        method: 'POST',
        body: text,
        headers: { ...signDelivery('gitea', SECRET, text, { event, delivery: randomUUID() }), ...headers },
      });
      return { status: response.status, body: (await response.json()) as never };
    },
    async metric(name, labels = '') {
      const response = await fetch(`${product.url}/metrics`, { headers: { authorization: `Bearer ${TOKEN}` } });
      const series = labels === '' ? `${name} ` : `${name}{${labels}} `;
      const line = (await response.text()).split('\n').find((one) => one.startsWith(series));
      return Number(line?.slice(series.length) ?? NaN);
    },
    async api(path, init = {}) {
      const response = await fetch(`${product.url}${path}`, {
        ...init,
        headers: {
          authorization: `Bearer ${TOKEN}`,
          'content-type': 'application/json',
          ...Object.fromEntries(new Headers(init.headers)),
        },
      });
      return (await response.json()) as never;
    },
    async runOf(delivery, until = isOver) {
      const id = await poll(
        async () => (await product.api<{ runs?: string[] }>(`/api/deliveries/${delivery}`)).runs?.[0],
      );
      return poll(async () => {
        const run = await product.api<Run>(`/api/runs/${id}`);
        return until(run) ? run : undefined;
      });
    },
    async stop() {
      await Promise.all(processes.map((one) => one.stop('SIGKILL')));
      await redis.stop();
      await forge.close();
      await git.close();
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
  await product.startServer();
  return product;
}

/** `ownGroup`: as a shell starts it, so that a signal can be sent to it as Ctrl-C does: to its process group. */
export function startProcess(command: string, env: Record<string, string>, ownGroup = false): Process {
  const child: ChildProcess = spawn(process.execPath, ['dist/impgem.js', command], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: ownGroup,
  });
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  for (const stream of [child.stdout!, child.stderr!])
    createInterface({ input: stream }).on('line', (line) => {
      lines.push(line);
      for (const wake of waiting) wake();
    });
  const ended = once(child, 'exit');
  return {
    pid: child.pid ?? 0,
    lines,
    said: (pattern) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const found = lines.find((line) => pattern.test(line));
          if (found === undefined) return;
          waiting.delete(look);
          resolve(found);
        };
        waiting.add(look);
        look();
        void ended.then(() => {
          if (waiting.has(look))
            reject(new Error(`impgem ${command} ended before it said ${String(pattern)}:\n${lines.join('\n')}`));
        });
      }),
    ended: ended.then(() => child.exitCode),
    async stop(signal = 'SIGTERM') {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGCONT');
        child.kill(signal);
      }
      await ended;
      return child.exitCode;
    },
  };
}

/** A step that ends when `goOn` is called. */
export const WAITING = 'touch waiting; until [ -e go ]; do sleep 0.05; done';

/** Resolves once such a step waits below this folder, with where it does. */
export async function waits(folder: string): Promise<string> {
  const found = await poll(async () =>
    (await readdir(folder, { recursive: true }).catch((): string[] => [])).find((path) => basename(path) === 'waiting'),
  );
  return join(folder, dirname(found));
}

/** Lets the step go on that waits below this folder. */
export async function goOn(folder: string): Promise<void> {
  await writeFile(join(await waits(folder), 'go'), '');
}

/** Asks until there is an answer; the test's own time limit ends it. */
export async function poll<T>(ask: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    await new Promise((wake) => setTimeout(wake, 20));
  }
}

export function pushBody(name: string, branch: string, before: string, sha: string, message: string): object {
  const [owner = '', repository = ''] = name.split('/');
  const person = { name: 'Maria', email: 'maria@example.com', username: owner };
  const commit = { id: sha, message, author: person, committer: person };
  return {
    ref: `refs/heads/${branch}`,
    before,
    after: sha,
    commits: [commit],
    total_commits: 1,
    head_commit: commit,
    repository: {
      id: 1,
      name: repository,
      full_name: name,
      owner: { login: owner, username: owner },
      default_branch: 'main',
    },
    pusher: { login: owner, username: owner },
    sender: { login: owner, username: owner },
  };
}
