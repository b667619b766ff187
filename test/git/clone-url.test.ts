import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkCloneUrl } from '../../src/git/clone-url.ts';
import { createGit, type Git } from '../../src/git/git.ts';
import { mirrorPath } from '../../src/git/mirror.ts';

const CANARY = '/tmp/impgem-clone-canary';
const SHA = 'a'.repeat(40);

test.each([
  'https://github.com/maria/gem.git',
  'http://127.0.0.1:3080/maria/gem.git',
  'http://[::1]:3080/maria/gem.git',
  'https://git.example.com/sub/maria/gem.git',
  'ssh://git@git.example.com:2222/maria/gem.git',
  'ssh://git.example.com/maria/gem.git',
])('%s is taken', (url) => {
  expect(() => checkCloneUrl(url, false)).not.toThrow();
});

/** Addresses that made others run a program, read a file or ask another server. */
const HOSTILE = [
  ...['', 'maria/gem', '/etc', '../repo', './x', 'C:\\x', '-u:./p', '--config=core.gitProxy=perl', '--upload-pack=id'],
  ...['file:///srv/x', 'file://host/srv/x', 'FILE:///srv/x', 'local:x', 'data:text/plain,x'],
  ...[`ext::sh -c touch% ${CANARY}% >&2`, `ext::touch ${CANARY}`, 'fd::7', 'git://h/x', 'ftp://h/x', 'git@h:x/y.git'],
  ...[
    `ssh://-oProxyCommand=touch%20${CANARY}/x`,
    'ssh://-Fx@host/r',
    'ssh://host/-oProxyCommand=id/../x',
    'ssh://git:pw@h/x',
  ],
  ...[
    'ssh://git@-oProxyCommand=id/x',
    'ssh+git://h/x',
    'git+ssh://h/x',
    'http://-h/x',
    'http://user@h/x',
    'http://u:p@h/x',
  ],
  ...[
    'https://h/x?service=y',
    'https://h/x#y',
    'https://h/x\r\nHost: y',
    'https://h/x y',
    'https://h\n/x',
    ' https://h/x',
  ],
  ...[
    'https://h/a/../b',
    'https://h/a/%2e%2e/b',
    'https://h/a%2fb',
    'https://h/a%00b',
    'https://h/a%0ab',
    'https:\\\\h\\x',
  ],
  ...[
    'https://h/$(id)/x',
    'https://h/`id`',
    "https://h/'x",
    'https://h/"x',
    'https://h/a;b',
    'https://h/a|b',
    'https://h/',
  ],
  ...['https:///x', 'https://h//x', 'HTTPS://h/x', 'https://H/x', 'http::https://h/x', `https://h/${'x'.repeat(3000)}`],
];

test.each(HOSTILE)('%j is refused', (url) => {
  expect(() => checkCloneUrl(url, false)).toThrow(expect.objectContaining({ code: 'clone-url-refused' }));
});

test('file addresses are taken only where a setting allows them, and only absolute ones', () => {
  expect(() => checkCloneUrl('file:///srv/git/maria/gem.git', true)).not.toThrow();
  expect(() => checkCloneUrl('file:///srv/git/maria/gem.git', false)).toThrow(/IMPGEM_ALLOW_FILE/);
  for (const url of ['file://host/srv/x', 'file:/srv/x', 'file:x', '/srv/x', '../x', 'file:///srv/../etc'])
    expect(() => checkCloneUrl(url, true)).toThrow();
});

describe('what strangers choose never reaches git', () => {
  let folder: string;
  let git: Git;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'impgem-test-'));
    git = createGit({ folder, allowFile: false, fetchTimeoutMs: 5000 });
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));
  const source = { url: 'http://127.0.0.1:1/maria/gem.git' };

  test.each([
    ...[
      '--upload-pack=touch${IFS}' + CANARY,
      'refs/heads/a b',
      'refs/heads/a:refs/heads/b',
      '+refs/heads/*',
      'refs/heads/*',
    ],
    ...[
      'main',
      '',
      'refs/heads/x\n--upload-pack=id',
      `ext::touch ${CANARY}`,
      'refs/heads/../../x',
      'refs/heads/x\u0000',
    ],
  ])('ref %j', async (ref) => {
    await expect(git.fetchCommit(source, 'gitea/maria/gem', { ref })).rejects.toMatchObject({ code: 'ref-invalid' });
    const also = { ref: 'refs/heads/main', also: [ref] };
    await expect(git.fetchCommit(source, 'gitea/maria/gem', also)).rejects.toMatchObject({ code: 'ref-invalid' });
  });

  test.each([
    'main',
    'HEAD',
    '--all',
    'a'.repeat(39),
    `${SHA}^{/x}`,
    `${SHA}\n${SHA}`,
    `${SHA}:x`,
    ':/x',
    '',
    '0'.repeat(40),
  ])('sha %j', async (sha) => {
    const refused = { code: 'sha-invalid' };
    await expect(git.fetchCommit(source, 'gitea/maria/gem', { ref: 'refs/heads/x', sha })).rejects.toMatchObject(
      refused,
    );
    await expect(git.readFile('gitea/maria/gem', { sha }, 'x')).rejects.toMatchObject(refused);
    await expect(git.listFolder('gitea/maria/gem', { sha }, 'x')).rejects.toMatchObject(refused);
    await expect(git.changedPaths('gitea/maria/gem', { sha })).rejects.toMatchObject(refused);
  });

  test.each(['', '/etc/passwd', '../x', 'a/../b', 'a//b', 'a/', './a', 'a\nb', 'a\u0000b', `a\n${SHA}`])(
    'path %j',
    async (path) => {
      await expect(git.readFile('gitea/maria/gem', { sha: SHA }, path)).rejects.toMatchObject({ code: 'path-invalid' });
      await expect(git.listFolder('gitea/maria/gem', { sha: SHA }, path)).rejects.toMatchObject({
        code: 'path-invalid',
      });
    },
  );

  test.each([
    'gitea/../x',
    'gitea/a/..',
    'x/a/b',
    'gitea/-a/b',
    'gitea/a/b/c',
    'gitea/a',
    '/etc/passwd',
    'gitea/a\n/b',
  ])('repository %j', async (repository) => {
    expect(() => mirrorPath('/srv/mirrors', repository)).toThrow(
      expect.objectContaining({ code: 'repository-invalid' }),
    );
    await expect(git.fetchCommit(source, repository, { ref: 'refs/heads/x' })).rejects.toMatchObject({ status: 400 });
  });

  test.each(HOSTILE)('address %j', async (url) => {
    await expect(git.fetchCommit({ url }, 'gitea/maria/gem', { ref: 'refs/heads/x' })).rejects.toMatchObject({
      code: 'clone-url-refused',
    });
    await expect(git.lsRemote({ url }, 'gitea/maria/gem')).rejects.toMatchObject({ code: 'clone-url-refused' });
  });

  afterAll(() => expect(existsSync(CANARY)).toBe(false));
});
