import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { lstat, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { STEP_PATHS } from '../../src/executors/executor.ts';
import { createGit, type Git } from '../../src/git/git.ts';
import type { WorkspaceOptions } from '../../src/git/workspace.ts';
import { makeRepository, makeTempFolder, type TestRepository } from '../support/git-http.ts';

const run = promisify(execFile);
const REPOSITORY = 'gitea/maria/gem';
const ALL = { skip: false, depth: 0, submodules: false, lfs: false };

let temp: Awaited<ReturnType<typeof makeTempFolder>>;
let remote: TestRepository;
let git: Git;
let mirrors: string;
let source: { url: string; credentials: { username: string; password: string } };
let counter = 0;

beforeAll(async () => {
  temp = await makeTempFolder();
  remote = await makeRepository(temp.path, 'maria/gem');
  source = { url: `file://${remote.bare}`, credentials: { username: 'u', password: 'password-canary' } };
  mirrors = join(temp.path, 'mirrors');
  git = createGit({ folder: mirrors, allowFile: true, fetchTimeoutMs: 30_000 });
  await remote.commit({ 'a.txt': '1', 'src/deep/b.sh': '#!/bin/sh\n' }, { message: 'First' });
});
afterAll(() => temp.remove());

async function make(
  sha: string,
  options: Partial<WorkspaceOptions> = {},
  from = git,
): Promise<{ folder: string; objects?: string }> {
  const folder = join(temp.path, `workspace-${++counter}`);
  await mkdir(folder);
  const made = await from.createWorkspace(REPOSITORY, {
    folder,
    source,
    ref: 'refs/heads/main',
    sha,
    clone: ALL,
    ...options,
  });
  return { folder, ...made };
}

/** Runs a script as a step has it: the workspace and, read-only, the mirror's objects at their paths, and nothing else of ours. */
async function inStep({ folder, objects }: { folder: string; objects?: string }, script: string): Promise<string> {
  const links = ['bin', 'lib', 'lib64', 'sbin'].flatMap((name) => ['--symlink', `usr/${name}`, `/${name}`]);
  const shared = objects === undefined ? [] : ['--ro-bind', objects, STEP_PATHS.objects];
  const { stdout } = await run(
    'bwrap',
    [
      ...[
        '--unshare-all',
        '--die-with-parent',
        '--ro-bind',
        '/usr',
        '/usr',
        ...links,
        '--proc',
        '/proc',
        '--dev',
        '/dev',
      ],
      ...['--tmpfs', '/tmp', '--bind', folder, STEP_PATHS.workspace, ...shared, '--chdir', STEP_PATHS.workspace],
      ...[
        '--clearenv',
        '--setenv',
        'PATH',
        '/usr/bin:/bin',
        '--setenv',
        'HOME',
        '/tmp',
        'bash',
        '-c',
        `set -e\n${script}`,
      ],
    ],
    { encoding: 'utf8' },
  );
  return stdout.trim();
}

/** Hash of every file under a folder. */
async function fingerprint(folder: string): Promise<string> {
  const hash = createHash('sha256');
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  for (const path of entries
    .filter((one) => one.isFile())
    .map((one) => join(one.parentPath, one.name))
    .sort())
    hash.update(path).update(await readFile(path));
  return hash.digest('hex');
}

describe('a workspace', () => {
  test('holds the commit and a git that works inside the step', async () => {
    const sha = await remote.commit({ 'a.txt': '2' }, { message: 'Second' });
    const workspace = await make(sha, { branch: 'main' });
    expect(await readFile(join(workspace.folder, 'a.txt'), 'utf8')).toBe('2');
    expect(
      await inStep(
        workspace,
        `git status --porcelain; git rev-parse HEAD; git symbolic-ref --short HEAD; git log --format=%s
         git show HEAD~1:a.txt; echo; git remote get-url origin; git fsck --no-dangling; git rev-parse --is-shallow-repository`,
      ),
    ).toBe(`${sha}\nmain\nSecond\nFirst\n1\n${source.url}\nfalse`);
  });

  test('takes commits, branches and merges of the step', async () => {
    const sha = await remote.commit({ 'a.txt': 'm' });
    const workspace = await make(sha, { branch: 'main' });
    const script = `git config user.name S; git config user.email s@x
      echo x > new.txt; git add new.txt; git commit -q -m Step; git checkout -q -b other HEAD~1; echo y > y; git add y
      git commit -q -m Other; git merge -q -m Merge main; git gc -q; git log --format=%s -1; git fsck --no-dangling`;
    expect(await inStep(workspace, script)).toBe('Merge');
  });

  test('needs nothing written into the mirror, and cannot write there', async () => {
    const sha = await remote.commit({ 'a.txt': 'safe' });
    const workspace = await make(sha, { branch: 'main' });
    const before = await fingerprint(join(mirrors, REPOSITORY + '.git'));
    const script = `for f in $(find ${STEP_PATHS.objects} -type f); do (echo evil > $f) 2>/dev/null && exit 1; rm -f $f 2>/dev/null && exit 1; done
      (touch ${STEP_PATHS.objects}/x) 2>/dev/null && exit 1
      find .git -type f -links +1 | wc -l
      rm -rf .git/objects; echo 'fsmonitor = touch /tmp/x' >> .git/config; echo gone`;
    expect(await inStep(workspace, script)).toBe('0\ngone');
    expect(await fingerprint(join(mirrors, REPOSITORY + '.git'))).toBe(before);
    expect((await make(sha)).folder).toBeDefined();
  });

  test('holds no credentials, no hooks and no path of the host', async () => {
    const sha = await remote.git('rev-parse', 'main');
    const { folder } = await make(sha, {
      branch: 'main',
      source: { ...source, url: 'http://127.0.0.1:1/maria/gem.git' },
    });
    const entries = await readdir(join(folder, '.git'), { recursive: true, withFileTypes: true });
    for (const entry of entries.filter((one) => one.isFile())) {
      const text = await readFile(join(entry.parentPath, entry.name), 'latin1');
      expect(text).not.toContain('password-canary');
      expect(text).not.toContain(temp.path);
    }
    expect(existsSync(join(folder, '.git/hooks'))).toBe(false);
    expect(await readFile(join(folder, '.git/objects/info/alternates'), 'utf8')).toBe(`${STEP_PATHS.objects}\n`);
  });

  test('of a tag: HEAD is detached, and git knows the tag', async () => {
    const sha = await remote.commit({ 'a.txt': 'release' });
    await remote.git('tag', '-a', 'v1.2', '-m', 'annotated');
    await remote.git('push', '-q', 'origin', 'v1.2');
    const ref = 'refs/tags/v1.2';
    await git.fetchCommit(source, REPOSITORY, { ref, sha: await remote.git('rev-parse', 'v1.2') });
    const workspace = await make(sha, { ref, tag: 'v1.2' });
    const script = 'git symbolic-ref -q HEAD || echo detached; git describe; git cat-file -t v1.2';
    expect(await inStep(workspace, script)).toBe('detached\nv1.2\ntag');
  });

  test('of a branch whose name a shell or a file system would trip over', async () => {
    for (const branch of ['feature/$(id)"q;&|', 'fix/ünï-1', `long/${'x'.repeat(300)}`, '-x']) {
      const sha = await remote.git('rev-parse', 'main');
      const workspace = await make(sha, { branch });
      expect(await inStep(workspace, 'git symbolic-ref --short HEAD; git rev-parse HEAD')).toBe(`${branch}\n${sha}`);
    }
    expect(existsSync('/tmp/x')).toBe(false);
  });

  test('as deep as was asked for', async () => {
    for (const index of [1, 2, 3, 4]) await remote.commit({ 'depth.txt': `${index}` }, { message: `Depth ${index}` });
    await remote.git('checkout', '-q', '-b', 'side', 'HEAD~2');
    await remote.commit({ side: '1' }, { branch: 'side', message: 'Side' });
    await remote.git('checkout', '-q', 'main');
    await remote.git('merge', '-q', '-m', 'Merged', 'side');
    const sha = await remote.commit({ 'depth.txt': 'end' }, { message: 'End' });
    await git.fetchCommit(source, REPOSITORY, { ref: 'refs/heads/main', sha });
    const reference = join(temp.path, 'reference');
    for (const depth of [1, 2, 3, 4]) {
      await run('git', ['clone', '-q', '--depth', String(depth), source.url, `${reference}-${depth}`]);
      const { stdout } = await run('git', ['-C', `${reference}-${depth}`, 'log', '--format=%s']);
      const workspace = await make(sha, { branch: 'main', clone: { ...ALL, depth } });
      expect(await inStep(workspace, 'git log --format=%s')).toBe(stdout.trim());
    }
  });

  test('keeps modes and links', async () => {
    const work = join(temp.path, '.work/maria/gem');
    await symlink('a.txt', join(work, 'link'));
    await symlink('/etc/passwd', join(work, 'far'));
    await writeFile(join(work, 'run.sh'), '#!/bin/sh\n', { mode: 0o755 });
    const { folder } = await make(await remote.commit({}), { branch: 'main' });
    expect((await lstat(join(folder, 'link'))).isSymbolicLink()).toBe(true);
    expect((await lstat(join(folder, 'far'))).isSymbolicLink()).toBe(true);
    expect((await lstat(join(folder, 'run.sh'))).mode & 0o777).toBe(0o755);
  });

  test('that starts empty', async () => {
    const { folder, objects } = await make('a'.repeat(40), { clone: { ...ALL, skip: true } });
    expect(objects).toBeUndefined();
    expect(await readdir(folder)).toEqual([]);
  });

  test('is made where the mirror lacks the commit, as on another machine', async () => {
    const sha = await remote.commit({ 'a.txt': 'elsewhere' });
    const other = createGit({ folder: join(temp.path, 'elsewhere'), allowFile: true, fetchTimeoutMs: 30_000 });
    for (const wanted of [sha, await remote.commit({ 'a.txt': 'elsewhere 2' })]) {
      const folder = join(temp.path, `workspace-${++counter}`);
      await mkdir(folder);
      const options = { folder, source, ref: 'refs/heads/main', sha: wanted, clone: ALL, branch: 'main' };
      const made = await other.createWorkspace(REPOSITORY, options);
      expect(await inStep({ folder, ...made }, 'git rev-parse HEAD')).toBe(wanted);
    }
  });

  test('of an unknown commit is refused', async () => {
    await expect(make('f'.repeat(40), { branch: 'main' })).rejects.toMatchObject({ code: 'commit-unknown' });
    await expect(make('f'.repeat(40))).rejects.toMatchObject({ code: 'commit-unknown' });
  });

  test.each([{ branch: '../x' }, { branch: 'a b' }, { branch: '' }, { tag: 'x\n' }, { branch: 'x\nref: y' }])(
    '%j is refused',
    async (names) => {
      await expect(make('a'.repeat(40), names)).rejects.toMatchObject({ code: 'ref-invalid' });
    },
  );

  test('with large files, where git-lfs is not installed, says so', async () => {
    const before = process.env['PATH'];
    const folder = join(temp.path, 'only-git');
    await mkdir(folder);
    await symlink((await run('which', ['git'])).stdout.trim(), join(folder, 'git'));
    const sha = await remote.git('rev-parse', 'main');
    process.env['PATH'] = folder;
    try {
      await expect(make(sha, { clone: { ...ALL, lfs: true } })).rejects.toMatchObject({ code: 'lfs-missing' });
    } finally {
      process.env['PATH'] = before;
    }
  });

  test('brings no more large files than a fetch may', async () => {
    const before = process.env['PATH'];
    const folder = join(temp.path, 'endless-lfs');
    await mkdir(folder);
    const script =
      '#!/bin/sh\nmkdir -p "$GIT_DIR/lfs/objects" && cat /dev/zero | head -c 3000000 > "$GIT_DIR/lfs/objects/a" && sleep 600\n';
    await writeFile(join(folder, 'git-lfs'), script, { mode: 0o755 });
    const limits = { bytes: 1_000_000, files: 1000 };
    const careful = createGit({ folder: mirrors, allowFile: true, fetchTimeoutMs: 30_000, limits });
    const sha = await remote.git('rev-parse', 'main');
    process.env['PATH'] = `${folder}:${before}`;
    try {
      await expect(make(sha, { clone: { ...ALL, lfs: true } }, careful)).rejects.toMatchObject({
        code: 'fetch-too-large',
      });
    } finally {
      process.env['PATH'] = before;
    }
  });

  test('gives git-lfs no settings from a file of the host', async () => {
    for (const text of ['[lfs]\n\tfetchexclude = x\n[Include]\n\tpath = /etc/passwd\n', '[x] [includeIf "y"]\n']) {
      const sha = await remote.commit({ '.lfsconfig': text });
      await expect(make(sha, { clone: { ...ALL, lfs: true } })).rejects.toMatchObject({ code: 'lfs-config-refused' });
    }
    await remote.commit({ '.lfsconfig': undefined });
    await symlink('/etc/passwd', join(temp.path, '.work/maria/gem/.lfsconfig'));
    const sha = await remote.commit({});
    await expect(make(sha, { clone: { ...ALL, lfs: true } })).rejects.toMatchObject({ code: 'lfs-config-refused' });
    await remote.commit({ '.lfsconfig': undefined });
  });

  test('runs nothing that the repository brings along', async () => {
    const canary = join(temp.path, 'canary');
    const sha = await remote.commit({
      '.gitattributes': '* filter=evil diff=evil\n*.lfs filter=lfs\n',
      '.gitconfig': `[filter "evil"]\n\tsmudge = touch ${canary}\n[core]\n\tfsmonitor = touch ${canary}\n`,
      '.lfsconfig': '[lfs]\n\turl = http://169.254.169.254/\n',
      '.gitmodules': `[submodule "x"]\n\tpath = x\n\turl = ext::touch ${canary}\n\tupdate = !touch ${canary}\n`,
      'hooks/post-checkout': `#!/bin/sh\ntouch ${canary}\n`,
    });
    const { folder } = await make(sha, { branch: 'main' });
    expect(existsSync(canary)).toBe(false);
    expect(existsSync(join(folder, 'hooks/post-checkout'))).toBe(true);
    await remote.commit({ '.gitattributes': undefined, '.gitmodules': undefined, '.lfsconfig': undefined });
  });
});
