/** The second fetch of a repository: by one request where the remote allows, by `git fetch` everywhere else. */
import { readdirSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer as createNetServer, type Server as NetServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { ImpGemError } from '../../src/errors.ts';
import { createGit, type Git } from '../../src/git/git.ts';
import { mirrorRef } from '../../src/git/mirror.ts';
import { fetchRequest } from '../../src/git/packets.ts';
import {
  git as runGit,
  type GitServer,
  makeRepository,
  makeTempFolder,
  startGitServer,
  type TestRepository,
} from '../support/git-http.ts';

const REPOSITORY = 'gitea/maria/gem';
const CREDENTIALS = { username: 'impgem', password: 'token-canary-456' };
const MAIN = 'refs/heads/main';
const ASK = 'GET /maria/gem.git/info/refs?service=git-upload-pack';
const TAKE = 'POST /maria/gem.git/git-upload-pack';

let temp: Awaited<ReturnType<typeof makeTempFolder>>;
let root: string;
let remote: TestRepository;
let server: GitServer;
const odd: NetServer[] = [];
let counter = 0;

beforeAll(async () => {
  temp = await makeTempFolder();
  root = join(temp.path, 'remotes');
  remote = await makeRepository(root, 'maria/gem');
  await remote.commit({ 'a.txt': '1' });
  server = await startGitServer({ root, credentials: CREDENTIALS });
});
afterEach(() => {
  server.hang = false;
  server.cut = false;
  server.redirect = undefined;
  for (const one of odd.splice(0)) one.close();
});
afterAll(async () => {
  await server.close();
  await temp.remove();
});

const source = (url = server.url) => ({ url: `${url}/maria/gem.git`, credentials: CREDENTIALS });

interface Warm {
  git: Git;
  mirror: string;
  /** Requests for the fetch of this commit. */
  requestsFor: (sha: string, ref?: string) => Promise<string[]>;
}

/** A mirror that has what the remote has now. */
async function warm(
  options: { fetchTimeoutMs?: number; limits?: { bytes: number; files: number } } = {},
): Promise<Warm> {
  const folder = join(temp.path, `mirrors-${++counter}`);
  const git = createGit({ folder, allowFile: false, fetchTimeoutMs: 30_000, ...options });
  const sha = await remote.git('rev-parse', 'main');
  await git.fetchCommit(source(), REPOSITORY, { ref: MAIN, sha, isNew: true });
  return {
    git,
    mirror: join(folder, `${REPOSITORY}.git`),
    requestsFor: async (wanted, ref = MAIN) => {
      const before = server.requests.length;
      expect((await git.fetchCommit(source(), REPOSITORY, { ref, sha: wanted, isNew: true })).sha).toBe(wanted);
      return server.requests.slice(before);
    },
  };
}

/** A remote that answers every request in this way; gives its address. */
async function oddRemote(answer: RequestListener): Promise<string> {
  const one = createServer(answer);
  odd.push(one);
  await new Promise<void>((resolve) => one.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(one.address() as AddressInfo).port}`;
}

const unfinished = (mirror: string): string[] =>
  readdirSync(join(mirror, 'objects/pack')).filter((name) => name.startsWith('tmp_'));

test('takes a pushed commit by one request, and the mirror is whole', async () => {
  const { requestsFor, mirror, git } = await warm();
  const sha = await remote.commit({ 'a.txt': 'second', 'deep/b.txt': 'new' });
  expect(await requestsFor(sha)).toEqual([TAKE]);
  expect(await runGit(mirror, 'rev-parse', mirrorRef(MAIN))).toBe(sha);
  expect(await runGit(mirror, 'fsck', '--full', '--strict')).not.toMatch(/missing|broken|error/);
  expect((await git.readFile(REPOSITORY, { sha }, 'deep/b.txt'))?.toString()).toBe('new');
  // And again, on what was fetched this way.
  const next = await remote.commit({ 'a.txt': 'third' });
  expect(await requestsFor(next)).toEqual([TAKE]);
});

test('sends only what is new', async () => {
  await remote.commit({
    'ballast.bin': Buffer.from(Array.from({ length: 300_000 }, () => Math.floor(Math.random() * 256))),
  });
  const { requestsFor, mirror } = await warm();
  const sizes = async () => Number(/size-pack: (\d+)/.exec(await runGit(mirror, 'count-objects', '-v'))?.[1]);
  const before = await sizes();
  expect(before).toBeGreaterThan(250);
  await requestsFor(await remote.commit({ 'a.txt': 'small' }));
  expect((await sizes()) - before).toBeLessThan(50);
});

test('takes a new branch, a forced push, a commit that is there already, and an annotated tag', async () => {
  const { requestsFor, mirror } = await warm();
  const branch = await remote.commit({ 'a.txt': 'on a branch' }, { branch: 'topic' });
  expect(await requestsFor(branch, 'refs/heads/topic')).toEqual([TAKE]);
  await remote.git('checkout', '-q', 'main');
  await remote.git('commit', '-q', '--amend', '-m', 'Rewritten');
  const forced = await remote.commit({ 'a.txt': 'after the rewrite' });
  expect(await requestsFor(forced)).toEqual([TAKE]);
  expect(await requestsFor(forced, 'refs/heads/same')).toEqual([TAKE]);
  await remote.git('tag', '-a', 'v9', '-m', 'nine');
  await remote.git('push', '-q', 'origin', 'v9');
  const tag = await remote.git('rev-parse', 'v9');
  const fetched = await createdBy(mirror).fetchCommit(source(), REPOSITORY, {
    ref: 'refs/tags/v9',
    sha: tag,
    isNew: true,
  });
  expect(fetched.sha).toBe(forced);
  expect(await runGit(mirror, 'rev-parse', mirrorRef('refs/tags/v9'))).toBe(tag);
});

test('an unknown commit is told as before', async () => {
  const { git } = await warm();
  await expect(
    git.fetchCommit(source(), REPOSITORY, { ref: 'refs/heads/nope', sha: 'a'.repeat(40), isNew: true }),
  ).rejects.toMatchObject({ code: 'commit-unknown' });
});

test('a server of the first protocol version, and one that cuts the connection once, are asked by git', async () => {
  const { git } = await warm();
  const old = await startGitServer({ root, credentials: CREDENTIALS, old: true });
  const sha = await remote.commit({ 'a.txt': 'by the old protocol' });
  expect((await git.fetchCommit(source(old.url), REPOSITORY, { ref: MAIN, sha, isNew: true })).sha).toBe(sha);
  expect(old.requests).toContain(ASK);
  await old.close();

  const next = await remote.commit({ 'a.txt': 'cut' });
  server.cut = true;
  const fetched = git.fetchCommit(source(), REPOSITORY, { ref: MAIN, sha: next, isNew: true });
  await server.requested(server.requests.length + 1);
  server.cut = false;
  expect((await fetched).sha).toBe(next);
});

test('a redirect is not followed, a refusal and an address without a repository are told in words', async () => {
  let wasCalled = false;
  const inside = await oddRemote((_request, response) => {
    wasCalled = true;
    response.end();
  });
  const { git } = await warm();
  const sha = await remote.commit({ 'a.txt': 'elsewhere' });
  const ask = (from: ReturnType<typeof source>) => git.fetchCommit(from, REPOSITORY, { ref: MAIN, sha, isNew: true });
  server.redirect = inside;
  await expect(ask(source())).rejects.toMatchObject({ code: 'git-redirected' });
  server.redirect = undefined;
  expect(wasCalled).toBe(false);
  const wrong = { ...source(), credentials: { username: 'impgem', password: 'wrong' } };
  await expect(ask(wrong)).rejects.toMatchObject({ code: 'git-refused' });
  const missing = { ...source(), url: `${server.url}/maria/nope.git` };
  await expect(ask(missing)).rejects.toMatchObject({ code: 'git-no-repository' });
});

test('a remote that hangs is left in time, and when the caller gives up', async () => {
  const { git: patient } = await warm();
  const { git: hasty } = await warm({ fetchTimeoutMs: 2000 });
  const sha = await remote.commit({ 'a.txt': 'hangs' });
  server.hang = true;
  const asked = server.requests.length;
  await expect(hasty.fetchCommit(source(), REPOSITORY, { ref: MAIN, sha, isNew: true })).rejects.toMatchObject({
    code: 'git-timeout',
    retryable: true,
  });
  // Once: the time limit is the whole fetch's, not each way's.
  expect(server.requests.length).toBe(asked + 1);
  const stop = new AbortController();
  const fetched = patient.fetchCommit(source(), REPOSITORY, { ref: MAIN, sha, isNew: true }, stop.signal);
  await server.requested(asked + 2);
  stop.abort();
  await expect(fetched).rejects.toMatchObject({ code: 'git-cancelled' });
});

test('a pack beyond the limit is refused, and nothing of it stays', async () => {
  const { git, mirror } = await warm({ limits: { bytes: 1024 * 1024, files: 1000 } });
  const noise = Buffer.from(Array.from({ length: 3 * 1024 * 1024 }, () => Math.floor(Math.random() * 256)));
  const sha = await remote.commit({ 'large.bin': noise });
  await expect(git.fetchCommit(source(), REPOSITORY, { ref: MAIN, sha, isNew: true })).rejects.toMatchObject({
    code: 'fetch-too-large',
  });
  expect(unfinished(mirror)).toEqual([]);
  await remote.commit({ 'large.bin': undefined });
});

test('a remote that leaves objects out does not get its commit a name', async () => {
  const { git, mirror } = await warm();
  const before = await runGit(mirror, 'rev-parse', mirrorRef(MAIN));
  const sha = await remote.commit({ 'a.txt': 'and what it was', 'deep/c.txt': 'left out' });
  // What the remote answers to one who wants no content of files.
  await runGit(remote.bare, 'config', 'uploadpack.allowFilter', 'true');
  const answer = await fetch(`${source().url}/git-upload-pack`, {
    method: 'POST',
    headers: {
      'git-protocol': 'version=2',
      'content-type': 'application/x-git-upload-pack-request',
      authorization: `Basic ${Buffer.from(`${CREDENTIALS.username}:${CREDENTIALS.password}`).toString('base64')}`,
    },
    body: fetchRequest(sha, [before]).replace(/(?=0009done)/, '0015filter blob:none\n'),
  });
  const partial = Buffer.from(await answer.arrayBuffer());
  expect(partial.toString('latin1')).toMatch(/packfile\n.*PACK/s);
  const url = await oddRemote((request, response) => {
    if (request.method === 'GET') return void response.writeHead(500).end();
    response.writeHead(200, { 'content-type': 'application/x-git-upload-pack-result' }).end(partial);
  });
  await expect(git.fetchCommit(source(url), REPOSITORY, { ref: MAIN, sha, isNew: true })).rejects.toMatchObject({
    code: 'git-failed',
  });
  expect(await runGit(mirror, 'rev-parse', mirrorRef(MAIN))).toBe(before);
  // Nothing of it stays, or the commit would be taken for one that is here.
  await expect(runGit(mirror, 'cat-file', '-e', sha)).rejects.toThrow();
  // The whole is taken once the remote gives it.
  expect((await git.fetchCommit(source(), REPOSITORY, { ref: MAIN, sha, isNew: true })).sha).toBe(sha);
  expect((await git.readFile(REPOSITORY, { sha }, 'deep/c.txt'))?.toString()).toBe('left out');
});

test.each([
  ['a page for people', 'text/html', '<html>sign in</html>'],
  ['packets of nonsense', 'application/x-git-upload-pack-result', '0009hello0000'],
  ['half a pack', 'application/x-git-upload-pack-result', '000dpackfile\n0009\u0001PACK'],
  ['a pack that is none', 'application/x-git-upload-pack-result', '000dpackfile\n0009\u0001NOPE0000'],
])('%s in answer leads to git, which fails in words; nothing stays', async (_what, type, body) => {
  const { git, mirror } = await warm();
  const url = await oddRemote((request, response) => {
    if (request.method === 'GET') return void response.writeHead(500).end();
    response.writeHead(200, { 'content-type': type }).end(body);
  });
  await expect(
    git.fetchCommit(source(url), REPOSITORY, { ref: MAIN, sha: 'b'.repeat(40), isNew: true }),
  ).rejects.toMatchObject({ code: 'git-failed' });
  expect(unfinished(mirror)).toEqual([]);
});

test.each([
  ['bytes that are no chunk', 'Transfer-Encoding: chunked\r\n\r\n4\r\n000d\r\nnonsense\r\n'],
  ['more bytes than were announced', 'Content-Length: 4\r\n\r\n0000HTTP/1.1 nonsense\r\n\r\n'],
  ['fewer bytes than were announced', 'Content-Length: 400\r\n\r\n000dpackfile\n'],
])('%s after the head of an answer end no process', async (_what, rest) => {
  const { git } = await warm();
  const one = createNetServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () =>
      socket.end(`HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-result\r\n${rest}`),
    );
  });
  odd.push(one);
  await new Promise<void>((resolve) => one.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(one.address() as AddressInfo).port}`;
  await expect(
    git.fetchCommit(source(url), REPOSITORY, { ref: MAIN, sha: 'b'.repeat(40), isNew: true }),
  ).rejects.toBeInstanceOf(ImpGemError);
});

function createdBy(mirror: string): Git {
  return createGit({
    folder: mirror.slice(0, -`/${REPOSITORY}.git`.length),
    allowFile: false,
    fetchTimeoutMs: 30_000,
  });
}
