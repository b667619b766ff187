/** A real git remote over HTTP (`git http-backend`) on loopback, and helpers that make repositories and commits. */
import { execFile, spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { EventEmitter, once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const ENV = {
  PATH: process.env['PATH'],
  LC_ALL: 'C',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_AUTHOR_NAME: 'Maria',
  GIT_AUTHOR_EMAIL: 'maria@example.com',
  GIT_COMMITTER_NAME: 'Maria',
  GIT_COMMITTER_EMAIL: 'maria@example.com',
};

/** Runs git in a folder and gives its trimmed stdout. */
export async function git(folder: string, ...args: string[]): Promise<string> {
  const { stdout } = await run('git', args, { cwd: folder, env: ENV, maxBuffer: 64 * 1024 * 1024 });
  return stdout.trim();
}

export async function makeTempFolder(): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'impgem-test-'));
  return { path, remove: () => rm(path, { recursive: true, force: true, maxRetries: 5 }) };
}

export interface TestRepository {
  /** The bare repository, as a remote serves it. */
  bare: string;
  /** Commits files (`undefined` removes) on a branch and pushes it; gives the sha. */
  commit(
    files: Record<string, string | Buffer | undefined>,
    options?: { branch?: string; message?: string },
  ): Promise<string>;
  /** Any git command in the working clone. */
  git(...args: string[]): Promise<string>;
}

/** A bare repository `<root>/<name>.git` with a working clone beside it. */
export async function makeRepository(root: string, name: string): Promise<TestRepository> {
  const bare = join(root, `${name}.git`);
  const work = join(root, '.work', name);
  await mkdir(bare, { recursive: true });
  await mkdir(work, { recursive: true });
  await git(bare, 'init', '-q', '--bare', '-b', 'main');
  await git(work, 'init', '-q', '-b', 'main');
  await git(work, 'remote', 'add', 'origin', bare);
  return {
    bare,
    git: (...args) => git(work, ...args),
    async commit(files, { branch = 'main', message = 'Change' } = {}) {
      const current = await git(work, 'symbolic-ref', '--short', 'HEAD');
      if (current !== branch)
        await git(work, 'checkout', '-q', branch).catch(() => git(work, 'checkout', '-q', '-b', branch));
      for (const [path, content] of Object.entries(files)) {
        const file = join(work, path);
        if (content === undefined) await rm(file);
        else {
          await mkdir(dirname(file), { recursive: true });
          await writeFile(file, content);
        }
      }
      await git(work, 'add', '-A');
      await git(work, 'commit', '-q', '--allow-empty', '-m', message);
      await git(work, 'push', '-q', '--force', 'origin', `HEAD:refs/heads/${branch}`);
      return git(work, 'rev-parse', 'HEAD');
    },
  };
}

export interface GitServer {
  /** `http://127.0.0.1:PORT`. */
  url: string;
  /** Method and path of every request. */
  requests: string[];
  /** While set, requests (of one repository, when it is `owner/name`) are taken and never answered. */
  hang: boolean | string;
  /** Cuts the connections of the requests that hang. */
  release(): void;
  /** While set, connections are cut when a request comes. */
  cut: boolean;
  /** ms that a request waits before it is looked at. */
  delayMs: number;
  /** Waits until as many requests were taken. */
  requested(count: number): Promise<void>;
  /** While set, every request is answered with a redirect there. */
  redirect: string | undefined;
  close(): Promise<void>;
}

export interface GitServerOptions {
  /** Folder with `owner/name.git`. */
  root: string;
  credentials?: { username: string; password: string };
  /** Speaks only the first protocol version, which gives no object by its id. */
  old?: boolean;
  /** Default: a free port of loopback. */
  listen?: { host: string; port: number };
}

export async function startGitServer(options: GitServerOptions): Promise<GitServer> {
  const changed = new EventEmitter().setMaxListeners(0);
  const server = createServer((request, response) => {
    state.requests.push(`${request.method ?? ''} ${request.url ?? ''}`);
    changed.emit('request');
    if (typeof state.hang === 'string' ? request.url?.startsWith(`/${state.hang}.git/`) : state.hang) return;
    if (state.cut) {
      request.socket.destroy();
      return;
    }
    if (state.redirect !== undefined) {
      response.writeHead(302, { location: `${state.redirect}${request.url ?? ''}` }).end();
      return;
    }
    if (!isAllowed(request, options.credentials)) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="git"' }).end();
      return;
    }
    if (state.delayMs === 0) serve(options, request, response);
    else setTimeout(() => serve(options, request, response), state.delayMs);
  });
  await new Promise<void>((resolve) =>
    server.listen(options.listen?.port ?? 0, options.listen?.host ?? '127.0.0.1', resolve),
  );
  const state: GitServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: [],
    hang: false,
    release: () => {
      server.closeAllConnections();
    },
    cut: false,
    delayMs: 0,
    redirect: undefined,
    requested: async (count) => {
      while (state.requests.length < count) await once(changed, 'request');
    },
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return state;
}

function isAllowed(request: IncomingMessage, credentials: GitServerOptions['credentials']): boolean {
  if (!credentials) return true;
  const wanted = Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64');
  return request.headers.authorization === `Basic ${wanted}`;
}

/** CGI, as RFC 3875 has it: variables in, headers and body out. */
function serve({ root, old }: GitServerOptions, request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? '/', 'http://localhost');
  const backend = spawn('git', ['http-backend'], {
    env: {
      ...ENV,
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: '1',
      GIT_PROTOCOL: old ? '' : String(request.headers['git-protocol'] ?? ''),
      PATH_INFO: decodeURIComponent(url.pathname),
      QUERY_STRING: url.search.slice(1),
      REQUEST_METHOD: request.method,
      CONTENT_TYPE: request.headers['content-type'] ?? '',
      HTTP_CONTENT_ENCODING: request.headers['content-encoding'] ?? '',
      REMOTE_USER: 'test',
    },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  request.pipe(backend.stdin);
  backend.stdin.on('error', () => request.unpipe(backend.stdin));
  let head = Buffer.alloc(0);
  const readHead = (chunk: Buffer) => {
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf('\r\n\r\n');
    if (end < 0) return;
    backend.stdout.off('data', readHead);
    let status = 200;
    for (const line of head.toString('latin1', 0, end).split('\r\n')) {
      const [, name = '', value = ''] = /^([^:]+): *(.*)$/.exec(line) ?? [];
      if (name.toLowerCase() === 'status') status = Number.parseInt(value, 10);
      else response.setHeader(name, value);
    }
    response.writeHead(status);
    response.write(head.subarray(end + 4));
    backend.stdout.pipe(response);
  };
  backend.stdout.on('data', readHead);
  backend.stdout.on('end', () => response.end());
  response.on('close', () => backend.kill());
}
