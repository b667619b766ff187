import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createGit, type Git } from '../../src/git/git.ts';
import { createAllowList } from '../../src/intake/allow-list.ts';
import {
  git as plain,
  type GitServer,
  makeRepository,
  makeTempFolder,
  startGitServer,
  type TestRepository,
} from '../support/git-http.ts';

const CREDENTIALS = { username: 'impgem', password: 'token-canary-456' };
const CLONE = { skip: false, depth: 0, submodules: true, lfs: false };

let temp: Awaited<ReturnType<typeof makeTempFolder>>;
let parent: TestRepository;
let library: TestRepository;
let server: GitServer;
let git: Git;
let librarySha: string;
let counter = 0;

beforeAll(async () => {
  temp = await makeTempFolder();
  const root = join(temp.path, 'remotes');
  parent = await makeRepository(root, 'maria/gem');
  library = await makeRepository(root, 'lib/tool');
  const inner = await makeRepository(root, 'lib/inner');
  const innerSha = await inner.commit({ 'inner.txt': 'inner' });
  await library.commit({ 'tool.txt': 'tool' });
  librarySha = await link(library, { inner: { url: '../inner', sha: innerSha } });
  await parent.commit({ 'gem.txt': 'gem' });
  server = await startGitServer({ root, credentials: CREDENTIALS });
  git = createGit({ folder: join(temp.path, 'mirrors'), allowFile: false, fetchTimeoutMs: 30_000 });
});
afterAll(async () => {
  await server.close();
  await temp.remove();
});

/** Commits gitlinks and their `.gitmodules`, with plumbing only: git itself would refuse some of them. */
async function link(
  repository: TestRepository,
  modules: Record<string, { url: string; sha: string; more?: string }>,
): Promise<string> {
  const file = join(temp.path, `modules-${++counter}`);
  const sections = Object.entries(modules).map(
    ([path, { url, more }]) => `[submodule "${path}"]\n\tpath = ${path}\n\turl = ${url}\n${more ?? ''}`,
  );
  await writeFile(file, sections.join(''));
  await repository.git('read-tree', 'HEAD');
  const blob = await repository.git('hash-object', '-w', file);
  await repository.git('update-index', '--add', '--cacheinfo', `100644,${blob},.gitmodules`);
  for (const [path, { sha }] of Object.entries(modules))
    await repository.git('update-index', '--add', '--cacheinfo', `160000,${sha},${path}`);
  const commit = await repository.git('commit-tree', '-m', 'Modules', await repository.git('write-tree'));
  await repository.git('push', '-q', '--force', 'origin', `${commit}:refs/heads/main`);
  await repository.git('read-tree', 'HEAD');
  return commit;
}

async function make(sha: string, clone = CLONE, from = git): Promise<string> {
  const folder = join(temp.path, `workspace-${++counter}`);
  await mkdir(folder);
  const source = { url: `${server.url}/maria/gem.git`, credentials: CREDENTIALS };
  const repository = 'gitea/maria/gem';
  await from.createWorkspace(repository, { folder, source, ref: 'refs/heads/main', sha, clone, branch: 'main' });
  return folder;
}

test.each([
  '../../lib/tool.git',
  '../../lib/tool',
  'ABSOLUTE',
  'git@127.0.0.1:lib/tool.git',
  'ssh://git@127.0.0.1/lib/tool.git',
])('a submodule at %s is fetched at its commit, and its own submodules too', async (url) => {
  const sha = await link(parent, {
    'vendor/tool': { url: url.replace('ABSOLUTE', `${server.url}/lib/tool.git`), sha: librarySha },
  });
  const folder = await make(sha);
  expect(await readFile(join(folder, 'vendor/tool/tool.txt'), 'utf8')).toBe('tool');
  expect(await readFile(join(folder, 'vendor/tool/inner/inner.txt'), 'utf8')).toBe('inner');
  expect(await plain(join(folder, 'vendor/tool'), 'rev-parse', 'HEAD')).toBe(librarySha);
  for (const config of ['.git/config', 'vendor/tool/.git/config'])
    expect(await readFile(join(folder, config), 'utf8')).not.toContain('canary');
});

test.each(['not a setting, but a secret', '[submodule "vendor/tool"]\n\turl = ../../lib/inner\n'])(
  'a file of the host that .gitmodules includes is not read: %j',
  async (text) => {
    const file = join(temp.path, 'of-the-host');
    await writeFile(file, text);
    const sha = await link(parent, {
      'vendor/tool': { url: '../../lib/tool.git', sha: librarySha, more: `[include]\n\tpath = ${file}\n` },
    });
    expect(await readFile(join(await make(sha), 'vendor/tool/tool.txt'), 'utf8')).toBe('tool');
  },
);

test.each([
  'http://169.254.169.254/lib/tool.git',
  'http://127.0.0.1:1/lib/tool.git',
  'ext::touch /tmp/impgem-submodule-canary',
  'file:///etc',
  '/etc',
  '-u./payload',
  '--upload-pack=touch /tmp/impgem-submodule-canary',
  '../../../x/y',
  '../../lib/../../x/y',
  '../../lib/tool.git?x=y',
  'git@evil.example:lib/tool.git',
  'ssh://-oProxyCommand=touch%20x/lib/tool.git',
])('a submodule at %s is refused', async (url) => {
  const before = server.requests.length;
  const sha = await link(parent, {
    bad: { url, sha: librarySha, more: '\tupdate = !touch /tmp/impgem-submodule-canary\n' },
  });
  await expect(make(sha)).rejects.toMatchObject({ code: 'submodule-refused' });
  expect(server.requests.slice(before).filter((line) => line.includes('lib'))).toEqual([]);
  expect(existsSync('/tmp/impgem-submodule-canary')).toBe(false);
});

test('another server on the same host hears nothing, and no token', async () => {
  const other = await startGitServer({ root: join(temp.path, 'remotes') });
  try {
    const sha = await link(parent, { bad: { url: `${other.url}/lib/tool.git`, sha: librarySha } });
    await expect(make(sha)).rejects.toMatchObject({ code: 'submodule-refused' });
    expect(other.requests).toEqual([]);
  } finally {
    await other.close();
  }
});

test.each(['maria/*', 'maria/*,lib/tool'])('only repositories of %s are fetched', async (globs) => {
  const list = globs.split(',').map((glob) => `gitea/${glob}`);
  const allows = createAllowList(list.join(','));
  const careful = createGit({ folder: join(temp.path, 'mirrors'), allowFile: false, fetchTimeoutMs: 30_000, allows });
  const sha = await link(parent, { 'vendor/tool': { url: '../../lib/tool.git', sha: librarySha } });
  const before = server.requests.length;
  await expect(make(sha, CLONE, careful)).rejects.toMatchObject({
    code: 'submodule-refused',
    message: expect.stringMatching(/is lib\/(tool|inner), which is not in IMPGEM_ALLOW_REPOSITORIES/) as string,
  });
  const asked = server.requests.slice(before).join();
  expect(asked.includes('lib/tool')).toBe(list.length > 1);
  expect(asked).not.toContain('lib/inner');
});

test('a submodule whose commit is gone is an error that says so', async () => {
  const sha = await link(parent, { gone: { url: '../../lib/tool', sha: 'c'.repeat(40) } });
  await expect(make(sha)).rejects.toMatchObject({ code: 'git-failed' });
});

test('a link where the submodule should be is not followed', async () => {
  await symlink(temp.path, join(temp.path, 'remotes/.work/maria/gem/evil'));
  const text = `[submodule "evil/x"]\n\tpath = evil/x\n\turl = ../../lib/tool\n`;
  const sha = await parent.commit({ '.gitmodules': text });
  const folder = await make(sha);
  expect(existsSync(join(temp.path, 'x'))).toBe(false);
  expect(existsSync(join(folder, 'evil'))).toBe(true);
});

/** A commit whose tree holds `a` twice: a folder with `b` in it, and a link to `target`. git itself makes no such tree. */
async function commitTwoFaced(target: string, b: string, files: Record<string, string>): Promise<string> {
  const write = async (kind: string, content: Buffer | string): Promise<string> => {
    const file = join(temp.path, `object-${++counter}`);
    await writeFile(file, content);
    return parent.git('hash-object', '-t', kind, '-w', '--literally', file);
  };
  const entry = (mode: string, name: string, id: string) =>
    Buffer.concat([Buffer.from(`${mode} ${name}\0`), Buffer.from(id, 'hex')]);
  const entries: Buffer[] = [];
  for (const [name, text] of Object.entries(files)) entries.push(entry('100644', name, await write('blob', text)));
  const inner = await write(
    'tree',
    entry(b.length === 40 ? '160000' : '100644', 'b', b.length === 40 ? b : await write('blob', b)),
  );
  const link = await write('blob', target);
  const tree = await write('tree', Buffer.concat([...entries, entry('40000', 'a', inner), entry('120000', 'a', link)]));
  const commit = await parent.git('commit-tree', '-m', 'Two faces', tree);
  await parent.git('push', '-q', '--force', 'origin', `${commit}:refs/heads/main`);
  return commit;
}

test('a tree that is a link and a folder at once leads no submodule out of the workspace', async () => {
  const outside = join(temp.path, 'outside');
  await mkdir(join(outside, 'b'), { recursive: true });
  const modules = '[submodule "x"]\n\tpath = a/b\n\turl = ../../lib/tool\n';
  const sha = await commitTwoFaced(outside, librarySha, { '.gitmodules': modules });
  await make(sha).catch(() => undefined);
  expect(await readdir(join(outside, 'b'))).toEqual([]);
});

test('nor is it handed to git-lfs, which would write through the link', async () => {
  const sha = await commitTwoFaced(join(temp.path, 'outside'), 'version https://git-lfs.github.com/spec/v1', {});
  await expect(make(sha, { ...CLONE, lfs: true })).rejects.toMatchObject({ code: 'tree-malformed' });
});
