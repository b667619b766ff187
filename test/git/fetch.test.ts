import { readdirSync, readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createGit, type Git } from '../../src/git/git.ts';
import {
  type GitServer,
  makeRepository,
  makeTempFolder,
  startGitServer,
  type TestRepository,
} from '../support/git-http.ts';

const REPOSITORY = 'gitea/maria/gem';
const CREDENTIALS = { username: 'impgem', password: 'token-canary-456' };
const MAIN = 'refs/heads/main';

let temp: Awaited<ReturnType<typeof makeTempFolder>>;
let remote: TestRepository;
let server: GitServer;
let counter = 0;

beforeAll(async () => {
  temp = await makeTempFolder();
  remote = await makeRepository(join(temp.path, 'remotes'), 'maria/gem');
  await remote.commit({ 'a.txt': '1' }, { message: 'First\n\nbody ünï' });
  server = await startGitServer({ root: join(temp.path, 'remotes'), credentials: CREDENTIALS });
});
afterAll(async () => {
  await server.close();
  await temp.remove();
});
afterEach(() => {
  server.hang = false;
  server.redirect = undefined;
});

/** A Git with mirrors of its own. */
function fresh(options: { fetchTimeoutMs?: number } = {}): { git: Git; folder: string } {
  const folder = join(temp.path, `mirrors-${++counter}`);
  const git = createGit({ folder, allowFile: false, fetchTimeoutMs: 30_000, ...options });
  return { git, folder };
}
const source = () => ({ url: `${server.url}/maria/gem.git`, credentials: CREDENTIALS });

describe('fetchCommit', () => {
  test('takes a commit that has no other name than its id', async () => {
    const { git } = fresh();
    const sha = await remote.git('rev-parse', 'main');
    expect((await git.fetchCommit(source(), REPOSITORY, { ref: sha, sha })).sha).toBe(sha);
  });

  test('gives the commit with its message and author', async () => {
    const { git } = fresh();
    const sha = await remote.git('rev-parse', 'main');
    expect(await git.fetchCommit(source(), REPOSITORY, { ref: MAIN, sha })).toEqual({
      sha,
      message: 'First\n\nbody ünï\n',
      author: 'Maria',
      authorEmail: 'maria@example.com',
      parents: [],
    });
  });

  test('asks nobody for a commit that is there', async () => {
    const { git } = fresh();
    const sha = await remote.commit({ 'a.txt': 'known' });
    await git.fetchCommit(source(), REPOSITORY, { ref: MAIN, sha });
    const before = server.requests.length;
    await git.fetchCommit(source(), REPOSITORY, { ref: MAIN, sha });
    expect(server.requests.length).toBe(before);
  });

  test('without a sha takes what the ref points at now', async () => {
    const { git } = fresh();
    await git.fetchCommit(source(), REPOSITORY, { ref: MAIN });
    const sha = await remote.commit({ 'a.txt': 'newer' });
    expect((await git.fetchCommit(source(), REPOSITORY, { ref: MAIN })).sha).toBe(sha);
  });

  test('gets the commit of the delivery when the branch has moved on, and when it was forced away', async () => {
    const { git } = fresh();
    const sha = await remote.commit({ 'b.txt': '1' }, { branch: 'moving' });
    await remote.git('commit', '-q', '--amend', '-m', 'Rewritten');
    await remote.git('push', '-q', '--force', 'origin', 'HEAD:refs/heads/moving');
    expect((await git.fetchCommit(source(), REPOSITORY, { ref: 'refs/heads/moving', sha })).sha).toBe(sha);
    const now = await remote.git('rev-parse', 'moving');
    expect((await git.fetchCommit(source(), REPOSITORY, { ref: 'refs/heads/moving', sha: now })).sha).toBe(now);
  });

  test('peels an annotated tag, and takes a light one', async () => {
    const { git } = fresh();
    const sha = await remote.commit({ 'a.txt': 'tagged' });
    await remote.git('tag', '-a', 'v1', '-m', 'annotated');
    await remote.git('tag', 'v2');
    await remote.git('push', '-q', 'origin', 'v1', 'v2');
    const tag = await remote.git('rev-parse', 'v1');
    expect(tag).not.toBe(sha);
    expect((await git.fetchCommit(source(), REPOSITORY, { ref: 'refs/tags/v1', sha: tag })).sha).toBe(sha);
    expect((await git.fetchCommit(source(), REPOSITORY, { ref: 'refs/tags/v2' })).sha).toBe(sha);
  });

  test('a branch may make way for a folder of branches, and names may differ in case only', async () => {
    const { git } = fresh();
    const one = await remote.commit({ 'c.txt': '1' }, { branch: 'x' });
    await git.fetchCommit(source(), REPOSITORY, { ref: 'refs/heads/x', sha: one });
    await remote.git('push', '-q', 'origin', ':refs/heads/x');
    await remote.git('branch', '-q', '-m', 'x', 'gone');
    const two = await remote.commit({ 'c.txt': '2' }, { branch: 'x/y' });
    expect((await git.fetchCommit(source(), REPOSITORY, { ref: 'refs/heads/x/y', sha: two })).sha).toBe(two);
    const three = await remote.commit({ 'c.txt': '3' }, { branch: 'X/y' });
    expect((await git.fetchCommit(source(), REPOSITORY, { ref: 'refs/heads/X/y' })).sha).toBe(three);
  });

  test('a server of the first protocol, which gives no object by its id', async () => {
    const old = await startGitServer({ root: join(temp.path, 'remotes'), old: true });
    try {
      const { git } = fresh();
      const sha = await remote.commit({ 'a.txt': 'old 1' });
      await remote.commit({ 'a.txt': 'old 2' });
      const url = `${old.url}/maria/gem.git`;
      expect((await git.fetchCommit({ url }, REPOSITORY, { ref: MAIN, sha })).sha).toBe(sha);
    } finally {
      await old.close();
    }
  });

  test('says that a commit is unknown', async () => {
    const { git } = fresh();
    const sha = 'd'.repeat(40);
    await expect(git.fetchCommit(source(), REPOSITORY, { ref: MAIN, sha })).rejects.toMatchObject({
      code: 'commit-unknown',
    });
    await expect(git.fetchCommit(source(), REPOSITORY, { ref: 'refs/heads/nope' })).rejects.toMatchObject({
      code: 'commit-unknown',
    });
    await expect(git.fetchCommit(source(), REPOSITORY, { ref: 'refs/heads/nope', sha })).rejects.toMatchObject({
      code: 'commit-unknown',
    });
  });

  test('fetches once for many who ask at the same time', async () => {
    const { git } = fresh();
    const sha = await remote.commit({ 'a.txt': 'many' });
    const before = server.requests.length;
    const ask = () => git.fetchCommit(source(), REPOSITORY, { ref: MAIN, sha });
    const commits = await Promise.all(Array.from({ length: 8 }, ask));
    expect(new Set(commits.map((commit) => commit.sha))).toEqual(new Set([sha]));
    // Two requests are one fetch; each is asked a first time without credentials.
    expect(server.requests.slice(before).filter((line) => line.startsWith('POST')).length).toBeLessThanOrEqual(2);
  });

  test('two that know nothing of each other share a mirror', async () => {
    const { git, folder } = fresh();
    const other = createGit({ folder, allowFile: false, fetchTimeoutMs: 30_000 });
    const shas: string[] = [];
    for (let index = 0; index < 4; index++) shas.push(await remote.commit({ 'a.txt': `shared ${index}` }));
    const commits = await Promise.all(
      shas.flatMap((sha) => [git, other].map((one) => one.fetchCommit(source(), REPOSITORY, { ref: MAIN, sha }))),
    );
    expect(commits.map((commit) => commit.sha)).toEqual(shas.flatMap((sha) => [sha, sha]));
  });
});

describe('a remote that is no help', () => {
  test('hangs: ended at the time limit, with every process that it started', async () => {
    const { git } = fresh({ fetchTimeoutMs: 1000 });
    server.hang = true;
    await expect(git.fetchCommit(source(), REPOSITORY, { ref: MAIN })).rejects.toMatchObject({
      code: 'git-timeout',
      retryable: true,
      message: 'git fetch did not end within 1 s (IMPGEM_FETCH_TIMEOUT)',
    });
    expect(commandLines().filter((line) => line.includes(server.url))).toEqual([]);
  });

  test('hangs: ended when the caller gives up', async () => {
    const { git } = fresh();
    server.hang = true;
    const stop = new AbortController();
    const before = server.requests.length;
    const fetched = git.fetchCommit(source(), REPOSITORY, { ref: MAIN }, stop.signal);
    await server.requested(before + 1);
    stop.abort();
    await expect(fetched).rejects.toMatchObject({ code: 'git-cancelled' });
    expect(commandLines().filter((line) => line.includes(server.url))).toEqual([]);
  });

  test('hangs: one who gives up does not wait for those who asked before', async () => {
    const { git } = fresh();
    server.hang = true;
    const [first, second] = [new AbortController(), new AbortController()];
    const before = server.requests.length;
    const ask = (stop: AbortController) =>
      git.fetchCommit(source(), REPOSITORY, { ref: MAIN }, stop.signal).catch((error: unknown) => error);
    const [hanging, waiting] = [ask(first), ask(second)];
    await server.requested(before + 1);
    second.abort();
    expect(await waiting).toMatchObject({ code: 'git-cancelled' });
    server.hang = false;
    const third = git.fetchCommit(source(), REPOSITORY, { ref: MAIN });
    expect(server.requests.length).toBe(before + 1);
    first.abort();
    expect(await hanging).toMatchObject({ code: 'git-cancelled' });
    expect((await third).sha).toBe(await remote.git('rev-parse', 'main'));
  });

  test('is not there', async () => {
    const { git } = fresh();
    const url = 'http://127.0.0.1:1/maria/gem.git';
    await expect(git.fetchCommit({ url }, REPOSITORY, { ref: MAIN })).rejects.toMatchObject({
      code: 'git-failed',
      retryable: true,
      message: expect.stringContaining('unable to access'),
    });
  });

  test('is not there, and is named like a refusal or a redirect', async () => {
    const { git } = fresh();
    const url = 'http://127.0.0.1:1/403/redirect-rules.git';
    await expect(git.fetchCommit({ url }, REPOSITORY, { ref: MAIN })).rejects.toMatchObject({
      code: 'git-failed',
      retryable: true,
    });
  });

  test('forbids it: that is told as a refusal', async () => {
    const { git } = fresh();
    const forbidding = createServer((_request, response) => response.writeHead(403).end());
    await new Promise<void>((resolve) => forbidding.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(forbidding.address() as AddressInfo).port}/maria/gem.git`;
    await expect(git.fetchCommit({ url }, REPOSITORY, { ref: MAIN })).rejects.toMatchObject({
      code: 'git-refused',
      retryable: false,
    });
    await new Promise((resolve) => forbidding.close(resolve));
  });

  test('does not have the repository', async () => {
    const { git } = fresh();
    const missing = { ...source(), url: `${server.url}/maria/nope.git` };
    await expect(git.fetchCommit(missing, 'gitea/maria/nope', { ref: MAIN })).rejects.toMatchObject({
      code: 'git-no-repository',
      retryable: false,
    });
  });

  test('redirects elsewhere: nobody is asked there', async () => {
    let wasCalled = false;
    const inside = createServer((_request, response) => {
      wasCalled = true;
      response.end();
    });
    await new Promise<void>((resolve) => inside.listen(0, '127.0.0.1', resolve));
    server.redirect = `http://127.0.0.1:${(inside.address() as AddressInfo).port}`;
    const { git } = fresh();
    await expect(git.fetchCommit(source(), REPOSITORY, { ref: MAIN })).rejects.toMatchObject({
      code: 'git-redirected',
    });
    await new Promise((resolve) => inside.close(resolve));
    expect(wasCalled).toBe(false);
  });
});

describe('the token', () => {
  test('is refused with what to do about it, and is in no message', async () => {
    const { git } = fresh();
    const wrong = { ...source(), credentials: { username: 'impgem', password: 'wrong-canary-789' } };
    const error: unknown = await git.fetchCommit(wrong, REPOSITORY, { ref: MAIN }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'git-refused', retryable: false });
    for (let at: unknown = error; at instanceof Error; at = at.cause) expect(secretsIn(String(at.stack))).toEqual([]);
  });

  test('is in no command line while a fetch runs, and in no file afterwards', async () => {
    const { git, folder } = fresh();
    server.hang = true;
    const before = server.requests.length;
    const stop = new AbortController();
    const fetched = git.fetchCommit(source(), REPOSITORY, { ref: MAIN }, stop.signal);
    await server.requested(before + 1);
    const lines = commandLines();
    expect(lines.some((line) => line.includes(source().url))).toBe(true);
    expect(lines.flatMap(secretsIn)).toEqual([]);
    stop.abort();
    await expect(fetched).rejects.toThrow();
    server.hang = false;
    await git.fetchCommit(source(), REPOSITORY, { ref: MAIN });
    for (const file of await readdir(folder, { recursive: true, withFileTypes: true }))
      if (file.isFile()) expect(secretsIn(await readFile(join(file.parentPath, file.name), 'latin1'))).toEqual([]);
  });
});

describe('lsRemote', () => {
  test('gives branches and tags, annotated ones peeled', async () => {
    const { git } = fresh();
    const refs = await git.lsRemote(source(), REPOSITORY);
    expect(refs.get(MAIN)).toBe(await remote.git('rev-parse', 'main'));
    expect(refs.get('refs/tags/v1')).toBe(await remote.git('rev-parse', 'v1^{commit}'));
    expect([...refs.keys()].every((ref) => /^refs\/(heads|tags)\//.test(ref))).toBe(true);
  });

  test('says what is wrong as a fetch does', async () => {
    const { git } = fresh({ fetchTimeoutMs: 1000 });
    const { url } = source();
    await expect(git.lsRemote({ url }, REPOSITORY)).rejects.toMatchObject({ code: 'git-refused' });
    server.hang = true;
    await expect(git.lsRemote(source(), REPOSITORY)).rejects.toMatchObject({ code: 'git-timeout' });
  });
});

function commandLines(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ');
      } catch {
        return '';
      }
    });
}

function secretsIn(text: string): string[] {
  const { username, password } = CREDENTIALS;
  const encoded = Buffer.from(`${username}:${password}`).toString('base64');
  return [password, encoded, 'wrong-canary-789'].filter((secret) => text.includes(secret));
}
