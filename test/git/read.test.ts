import { execFileSync } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createGit, FILE_LIMIT, type Git } from '../../src/git/git.ts';
import { ensureMirror } from '../../src/git/mirror.ts';
import { makeRepository, makeTempFolder, type TestRepository } from '../support/git-http.ts';

const REPOSITORY = 'github/maria/gem';

let temp: Awaited<ReturnType<typeof makeTempFolder>>;
let remote: TestRepository;
let git: Git;
let source: { url: string };

beforeAll(async () => {
  temp = await makeTempFolder();
  remote = await makeRepository(temp.path, 'maria/gem');
  source = { url: `file://${remote.bare}` };
  git = createGit({ folder: join(temp.path, 'mirrors'), allowFile: true, fetchTimeoutMs: 30_000 });
});
afterAll(() => temp.remove());

/** Commits, and brings the commit into the mirror. */
async function bring(files: Record<string, string | Buffer | undefined>, branch = 'main'): Promise<string> {
  const sha = await remote.commit(files, { branch });
  await git.fetchCommit(source, REPOSITORY, { ref: `refs/heads/${branch}`, sha });
  return sha;
}

describe('readFile and listFolder', () => {
  test('read at a commit', async () => {
    const one = await bring({
      '.impgem.yml': 'steps: [1]\n',
      '.impgem/a.yml': 'a',
      '.impgem/b.yml': 'b',
      '.impgem/c/d': 'x',
    });
    const two = await bring({ '.impgem.yml': 'steps: [ünï 💎]\n' });
    expect((await git.readFile(REPOSITORY, { sha: one }, '.impgem.yml'))?.toString()).toBe('steps: [1]\n');
    expect((await git.readFile(REPOSITORY, { sha: two }, '.impgem.yml'))?.toString()).toBe('steps: [ünï 💎]\n');
    expect(await git.listFolder(REPOSITORY, { sha: one }, '.impgem')).toEqual([
      { name: 'a.yml', kind: 'file' },
      { name: 'b.yml', kind: 'file' },
      { name: 'c', kind: 'folder' },
    ]);
  });

  test('give undefined for what is not there, or is of the other kind', async () => {
    const sha = await bring({ 'd/e': 'x', 'odd name $(id) "q"': 'y' });
    for (const path of ['nope', 'd', 'd/e/f', 'd/nope'])
      expect(await git.readFile(REPOSITORY, { sha }, path)).toBeUndefined();
    for (const path of ['nope', 'd/e']) expect(await git.listFolder(REPOSITORY, { sha }, path)).toBeUndefined();
    expect((await git.readFile(REPOSITORY, { sha }, 'odd name $(id) "q"'))?.toString()).toBe('y');
  });

  test('do not follow links, and name them', async () => {
    await remote.git('config', 'core.symlinks', 'true');
    execFileSync('ln', ['-sfn', '/etc/passwd', join(temp.path, '.work/maria/gem', 'link')]);
    const sha = await bring({ x: '1' });
    expect((await git.readFile(REPOSITORY, { sha }, 'link'))?.toString()).toBe('/etc/passwd');
  });

  test('give bytes as they are', async () => {
    const bytes = Buffer.from([0, 255, 10, 13, 10, 0, 128]);
    const sha = await bring({ 'bytes.bin': bytes, empty: '' });
    expect(await git.readFile(REPOSITORY, { sha }, 'bytes.bin')).toEqual(bytes);
    expect(await git.readFile(REPOSITORY, { sha }, 'empty')).toEqual(Buffer.alloc(0));
  });

  test('refuse a file beyond the limit without reading it whole', async () => {
    const sha = await bring({ large: Buffer.alloc(5 * FILE_LIMIT, 'x'), whole: Buffer.alloc(FILE_LIMIT - 100, 'y') });
    await expect(git.readFile(REPOSITORY, { sha }, 'large')).rejects.toMatchObject({ code: 'git-output-too-large' });
    expect((await git.readFile(REPOSITORY, { sha }, 'whole'))?.length).toBe(FILE_LIMIT - 100);
  });
});

describe('changedPaths', () => {
  test('of a push: what differs from before, whatever the number of commits', async () => {
    const before = await bring({ 'p/one': '1', 'p/two': '2', 'p/gone': 'x' });
    for (let index = 0; index < 12; index++) await remote.commit({ [`q/${index}`]: '1' });
    const sha = await bring({ 'p/one': 'changed', 'p/gone': undefined, 'p/ünï "q"\n': 'new' });
    const changed = await git.changedPaths(REPOSITORY, { sha, before });
    expect(changed?.sort()).toEqual(
      ['p/one', 'p/gone', 'p/ünï "q"\n', ...Array.from({ length: 12 }, (_, i) => `q/${i}`)].sort(),
    );
  });

  test('names both ends of a move', async () => {
    const before = await bring({ 'from.txt': 'the same long content\n'.repeat(20) });
    const sha = await bring({ 'from.txt': undefined, 'to.txt': 'the same long content\n'.repeat(20) });
    expect(await git.changedPaths(REPOSITORY, { sha, before })).toEqual(['from.txt', 'to.txt']);
  });

  test('of a pull request: since it left its target, not what the target got meanwhile', async () => {
    await bring({ base: '1' });
    await bring({ 'topic.txt': '1' }, 'topic');
    await bring({ 'main-only.txt': '1' });
    const sha = await bring({ 'topic2.txt': '1' }, 'topic');
    expect(await git.changedPaths(REPOSITORY, { sha, mergeBaseWith: 'refs/heads/main' })).toEqual([
      'topic.txt',
      'topic2.txt',
    ]);
  });

  test('of a forced push whose history is still there', async () => {
    await bring({ 'f.txt': '1' }, 'forced');
    const before = await bring({ 'f.txt': '2', 'g.txt': '2' }, 'forced');
    await remote.git('reset', '-q', '--hard', 'HEAD~1');
    const sha = await bring({ 'h.txt': '3' }, 'forced');
    expect(await git.changedPaths(REPOSITORY, { sha, before })).toEqual(['f.txt', 'g.txt', 'h.txt']);
  });

  test('is unknown where git cannot tell', async () => {
    const sha = await bring({ unknown: '1' });
    const lost = 'e'.repeat(40);
    expect(await git.changedPaths(REPOSITORY, { sha })).toBeUndefined();
    expect(await git.changedPaths(REPOSITORY, { sha, before: lost })).toBeUndefined();
    expect(await git.changedPaths(REPOSITORY, { sha, before: sha })).toBeUndefined();
    expect(await git.changedPaths(REPOSITORY, { sha, mergeBaseWith: 'refs/heads/nope' })).toBeUndefined();
    expect(await git.changedPaths(REPOSITORY, { sha: lost, before: sha })).toBeUndefined();
    // Nothing in common.
    await remote.git('checkout', '-q', '--orphan', 'alone');
    const alone = await bring({ alone: '1' }, 'alone');
    expect(await git.changedPaths(REPOSITORY, { sha: alone, mergeBaseWith: 'refs/heads/main' })).toBeUndefined();
    await remote.git('checkout', '-q', '-f', 'main');
  });

  test('brings the target along when the mirror has never seen it', async () => {
    const sha = await remote.commit({ 'late.txt': '1' }, { branch: 'late' });
    const other = createGit({ folder: join(temp.path, 'others'), allowFile: true, fetchTimeoutMs: 30_000 });
    await other.fetchCommit(source, REPOSITORY, { ref: 'refs/heads/late', sha });
    const change = { sha, mergeBaseWith: 'refs/heads/main' };
    expect(await other.changedPaths(REPOSITORY, change)).toBeUndefined();
    await other.fetchCommit(source, REPOSITORY, { ref: 'refs/heads/late', sha, also: ['refs/heads/main'] });
    expect(await other.changedPaths(REPOSITORY, change)).toEqual(['late.txt']);
    // A target that is gone does not keep the commit away.
    const also = ['refs/heads/gone'];
    expect((await other.fetchCommit(source, REPOSITORY, { ref: 'refs/heads/late', sha, also })).sha).toBe(sha);
  });
});

test('a repository of SHA-256 objects', async () => {
  const bare = join(temp.path, 'sha256.git');
  const work = join(temp.path, 'sha256');
  const run = (...args: string[]) => execFileSync('git', args, { encoding: 'utf8' }).trim();
  run('init', '-q', '--bare', '--object-format=sha256', bare);
  run('init', '-q', '--object-format=sha256', '-b', 'main', work);
  run('-C', work, '-c', 'user.name=M', '-c', 'user.email=m@x', 'commit', '-q', '--allow-empty', '-m', 'First');
  run('-C', work, 'push', '-q', bare, 'main');
  const sha = run('-C', work, 'rev-parse', 'HEAD');
  expect(sha).toHaveLength(64);
  const repository = 'github/maria/sha256';
  const commit = await git.fetchCommit({ url: `file://${bare}` }, repository, { ref: 'refs/heads/main', sha });
  expect(commit).toMatchObject({ sha, message: 'First\n' });
  // A branch tells nothing of the format, neither do the refs; a mirror that was made for the other one is put right.
  const byName = 'github/maria/sha256-by-name';
  expect((await git.lsRemote({ url: `file://${bare}` }, byName)).get('refs/heads/main')).toBe(sha);
  expect((await git.fetchCommit({ url: `file://${bare}` }, byName, { ref: 'refs/heads/main' })).sha).toBe(sha);
  const wrong = 'github/maria/sha256-wrong';
  await ensureMirror(join(temp.path, 'mirrors', `${wrong}.git`));
  expect((await git.fetchCommit({ url: `file://${bare}` }, wrong, { ref: 'refs/heads/main', sha })).sha).toBe(sha);
  const folder = join(temp.path, 'sha256-workspace');
  await mkdir(folder);
  const clone = { skip: false, depth: 0, submodules: false, lfs: false };
  await git.createWorkspace(repository, {
    folder,
    source: { url: `file://${bare}` },
    ref: 'refs/heads/main',
    sha,
    clone,
  });
});
