/** Commits and packs that are small to send and endless to unpack, from a real remote. */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createCounter } from '../../src/git/check-out.ts';
import { createGit, type Git } from '../../src/git/git.ts';
import {
  type GitServer,
  makeRepository,
  makeTempFolder,
  startGitServer,
  type TestRepository,
} from '../support/git-http.ts';

const REPOSITORY = 'gitea/maria/bomb';
const CLONE = { skip: false, depth: 0, submodules: false, lfs: false };
const MIB = 1024 * 1024;
const LIMITS = { bytes: 64 * MIB, files: 10_000 };

let temp: Awaited<ReturnType<typeof makeTempFolder>>;
let remote: TestRepository;
let server: GitServer;
let git: Git;
let made = 0;

beforeAll(async () => {
  temp = await makeTempFolder();
  const root = join(temp.path, 'remotes');
  remote = await makeRepository(root, 'maria/bomb');
  await remote.commit({ 'a.txt': 'a' });
  server = await startGitServer({ root });
  git = openGit(LIMITS);
});
afterAll(async () => {
  await server.close();
  await temp.remove();
});

function openGit(limits: typeof LIMITS): Git {
  return createGit({ folder: join(temp.path, `mirrors-${++made}`), allowFile: false, fetchTimeoutMs: 60_000, limits });
}

async function checkOut(sha: string, from = git): Promise<string> {
  const source = { url: `${server.url}/maria/bomb.git` };
  const folder = join(temp.path, `workspace-${++made}`);
  await mkdir(folder);
  await from.fetchCommit(source, REPOSITORY, { ref: 'refs/heads/main', sha, isNew: true });
  await from.createWorkspace(REPOSITORY, { folder, source, ref: 'refs/heads/main', sha, clone: CLONE });
  return folder;
}

/** `levels` trees of ten entries each, all the same: 10 ** levels files of one blob. */
async function pushBomb(levels: number, content: string | Buffer): Promise<string> {
  const file = join(temp.path, `blob-${++made}`);
  await writeFile(file, content);
  let [mode, id] = ['100644', await remote.git('hash-object', '-w', file)];
  for (let level = 0; level < levels; level++) {
    const entries = Array.from({ length: 10 }, (_, at) => [Buffer.from(`${mode} e${at}\0`), Buffer.from(id, 'hex')]);
    await writeFile(file, Buffer.concat(entries.flat()));
    id = await remote.git('hash-object', '-t', 'tree', '-w', file);
    mode = '40000';
  }
  const sha = await remote.git('commit-tree', '-m', 'Bomb', id);
  await remote.git('push', '-q', '--force', 'origin', `${sha}:refs/heads/main`);
  return sha;
}

test('ten levels of ten trees are no checkout of ten thousand million files', async () => {
  const sha = await pushBomb(10, 'boom\n');
  await expect(checkOut(sha)).rejects.toMatchObject({
    code: 'workspace-too-large',
    message: expect.stringContaining('IMPGEM_CLONE_FILES') as string,
  });
});

test('a thousand names of one large file of nothing are no checkout of its size a thousand times', async () => {
  const sha = await pushBomb(3, Buffer.alloc(16 * MIB));
  await expect(checkOut(sha)).rejects.toMatchObject({ code: 'workspace-too-large' });
});

test('what stays below is checked out', async () => {
  const folder = await checkOut(await pushBomb(2, 'fine\n'));
  expect((await readdir(join(folder, 'e3'))).length).toBe(10);
});

test('a fetch that brings too much is ended, and leaves nothing', async () => {
  const sha = await remote.commit({ 'large.bin': randomBytes(48 * MIB) }, { branch: 'large' });
  const small = openGit({ bytes: MIB, files: 10 });
  const folder = join(temp.path, `mirrors-${made}`);
  await expect(checkOut(sha, small)).rejects.toMatchObject({ code: 'fetch-too-large' });
  expect(await readdir(join(folder, 'gitea/maria/bomb.git/objects/pack'))).toEqual([]);
});

test('files are counted however the list of them is cut', () => {
  const entry = fc.record({
    size: fc.option(fc.nat(), { nil: undefined }),
    path: fc.stringMatching(/^[ -~\t\n]{1,20}$/),
  });
  fc.assert(
    fc.property(fc.array(entry), fc.integer({ min: 1, max: 30 }), (entries, length) => {
      const lines = entries.map(
        ({ size, path }) =>
          `${size === undefined ? '160000 commit' : '100644 blob'} ${'a'.repeat(40)} ${String(size ?? '-').padStart(7)}\t${path}\0`,
      );
      const bytes = Buffer.from(lines.join(''));
      const count = createCounter();
      let seen = count(Buffer.alloc(0));
      for (let at = 0; at < bytes.length; at += length) seen = count(bytes.subarray(at, at + length));
      const total = entries.reduce((sum, { size }) => sum + (size ?? 0), 0);
      expect(seen).toEqual({ files: entries.length, bytes: total });
    }),
  );
});
