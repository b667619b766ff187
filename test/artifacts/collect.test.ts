import { execFile } from 'node:child_process';
import { rmSync } from 'node:fs';
import { link, mkdir, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it, onTestFinished } from 'vitest';
import { COLLECT_LIMITS, collectFiles, hashFiles } from '../../src/artifacts/collect.ts';
import { openPlainFile, openPlainFolder } from '../../src/artifacts/open-plain-file.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

async function tree(files: Record<string, string>): Promise<string> {
  const root = join(await temporaryFolder(), 'workspace');
  await mkdir(root);
  await writeFile(join(root, '../canary'), 'outside');
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), content);
  }
  return root;
}

const paths = (list: { path: string }[]) => list.map(({ path }) => path);

describe('collectFiles', () => {
  it('takes what the globs name, sorted, with sizes', async () => {
    const root = await tree({
      'out/b.txt': 'bb',
      'out/a.txt': 'a',
      'out/x/c.bin': 'ccc',
      'src/a.ts': '',
      '.env': 'S',
      '.git/HEAD': 'H',
    });
    const { files, refused } = await collectFiles(root, ['out', '!**/*.bin', '*.ts']);
    expect(refused).toEqual([]);
    expect(files).toEqual([
      { path: 'out/a.txt', source: join(root, 'out/a.txt'), size: 1 },
      { path: 'out/b.txt', source: join(root, 'out/b.txt'), size: 2 },
    ]);
    const all = ['.env', 'out/a.txt', 'out/b.txt', 'out/x/c.bin', 'src/a.ts'];
    expect(paths((await collectFiles(root, ['**'])).files)).toEqual(all);
    expect(paths((await collectFiles(root, ['.git'])).files)).toEqual(['.git/HEAD']);
    expect(await collectFiles(root, ['nothing/**'])).toEqual({ files: [], refused: [] });
  });

  it('takes a link as the file inside that it leads to, and refuses every other', async () => {
    const root = await tree({ 'lib/a.so.1': 'lib', 'real/x.txt': 'x' });
    await symlink('a.so.1', join(root, 'lib/a.so'));
    await symlink('../../canary', join(root, 'lib/up'));
    await symlink('/proc/1/environ', join(root, 'out'));
    await symlink('../real', join(root, 'lib/folder'));
    await symlink('/etc', join(root, 'etc'));
    await symlink('loop', join(root, 'loop'));
    await symlink('nowhere', join(root, 'broken'));
    const { files, refused } = await collectFiles(root, ['**', 'etc/passwd']);
    expect(files.map(({ path, source }) => [path, source])).toEqual([
      ['lib/a.so', join(root, 'lib/a.so.1')],
      ['lib/a.so.1', join(root, 'lib/a.so.1')],
      ['real/x.txt', join(root, 'real/x.txt')],
    ]);
    expect(paths(refused)).toEqual(['broken', 'etc', 'lib/folder', 'lib/up', 'loop', 'out']);
    expect(paths((await collectFiles(root, ['etc/passwd'])).refused)).toEqual(['etc']);
    expect(await collectFiles(root, ['etc/passwd', '!etc'])).toEqual({ files: [], refused: [] });
  });

  it('refuses a folder whose name is no text or that is gone meanwhile, and takes the rest', async () => {
    const root = await tree({ 'a.txt': 'a', 'gone/x.txt': 'x', 'z/z.txt': 'z' });
    await mkdir(Buffer.concat([Buffer.from(`${root}/bad`), Buffer.from([0xff])]));
    const limits = {
      ...COLLECT_LIMITS,
      // Asked for while the folder that holds it is listed.
      get visited() {
        rmSync(join(root, 'gone'), { recursive: true, force: true });
        return COLLECT_LIMITS.visited;
      },
    };
    const { files, refused } = await collectFiles(root, ['**'], limits);
    expect(paths(files)).toEqual(['a.txt', 'z/z.txt']);
    expect(refused).toEqual([
      { path: 'bad\ufffd', why: 'its name has a backslash or characters that are no text' },
      { path: 'gone', why: 'it is gone' },
    ]);
    expect(await hashFiles(root, ['**'])).toMatch(/^[0-9a-f]{64}$/);
  });

  it('refuses what is not a regular file, without opening it', async () => {
    const root = await tree({ 'ok.txt': 'ok' });
    await promisify(execFile)('mkfifo', [join(root, 'pipe')]);
    const server = createServer().listen(join(root, 'socket'));
    onTestFinished(() => void server.close());
    const { files, refused } = await collectFiles(root, ['*']);
    expect(paths(files)).toEqual(['ok.txt']);
    expect(paths(refused)).toEqual(['pipe', 'socket']);
    await expect(openPlainFile(join(root, 'pipe'))).rejects.toMatchObject({ code: 'file-refused' });
  });

  it('refuses names that no archive should carry', async () => {
    const root = await tree({ 'a\\b': '1', 'a\nb': '2', '..\\..\\x': '3', ok: '4' });
    await writeFile(Buffer.concat([Buffer.from(`${root}/`), Buffer.from([0x61, 0xff])]), '5');
    const { files, refused } = await collectFiles(root, ['*']);
    expect(paths(files)).toEqual(['ok']);
    expect(refused).toHaveLength(4);
  });

  it('keeps to its limits', async () => {
    const root = await tree({ a: '12345', b: '12345', 'c/d': '12345' });
    for (const limit of [{ files: 2 }, { bytes: 14 }, { visited: 3 }, { ms: -1 }]) {
      const attempt = collectFiles(root, ['**'], { ...COLLECT_LIMITS, ...limit });
      await expect(attempt).rejects.toMatchObject({ code: 'artifact-quota' });
    }
    expect(
      (await collectFiles(root, ['**'], { ...COLLECT_LIMITS, files: 3, bytes: 15, visited: 4 })).files,
    ).toHaveLength(3);
  });

  it.each(['../canary', '/etc/passwd', 'a/../../canary', 'x\\..\\y'])('refuses the pattern %s', async (glob) => {
    await expect(collectFiles(await tree({}), [glob])).rejects.toMatchObject({ code: 'glob-invalid' });
  });
});

describe('openPlainFile', () => {
  it('sees a folder that was swapped for a link after the look', async () => {
    const root = await tree({ 'dir/canary': 'inside' });
    const [file] = (await collectFiles(root, ['dir'])).files;
    await symlink('..', join(root, 'swap'));
    await promisify(execFile)('sh', ['-c', 'rm -r dir && mv swap dir'], { cwd: root });
    await expect(openPlainFile(file!.source)).rejects.toMatchObject({ code: 'file-refused' });
    await expect(openPlainFile(join(root, 'gone'))).rejects.toThrow('it is gone');
  });

  it('opens a file with two names', async () => {
    const root = await tree({ a: 'text' });
    await link(join(root, 'a'), join(root, 'b'));
    const handle = await openPlainFile(join(root, 'b'));
    expect(await handle.readFile('utf8')).toBe('text');
    await handle.close();
  });
});

describe('openPlainFolder', () => {
  it('lists a folder, and refuses a link to one, also above it', async () => {
    const root = await tree({ 'dir/inner/a': '' });
    await mkdir(join(root, '../outside/inner'), { recursive: true });
    const names = [];
    for await (const { name } of await openPlainFolder(join(root, 'dir'))) names.push(name);
    expect(names).toEqual(['inner']);
    // As a step does that is still running while its folders are being listed.
    await promisify(execFile)('sh', ['-c', 'rm -r dir && ln -s ../outside dir'], { cwd: root });
    for (const path of ['dir', 'dir/inner'])
      await expect(openPlainFolder(join(root, path))).rejects.toMatchObject({ code: 'file-refused' });
    await expect(openPlainFolder(join(root, 'gone'))).rejects.toThrow('it is gone');
  });
});

describe('hashFiles', () => {
  it('changes with every content and name, and with nothing else', async () => {
    const root = await tree({ 'a/lock': 'x', 'b/lock': 'y', other: 'z' });
    const first = await hashFiles(root, ['**/lock']);
    expect(first).toMatch(/^[0-9a-f]{64}$/);
    await writeFile(join(root, 'other'), 'changed');
    expect(await hashFiles(root, ['b/lock', 'a/lock'])).toBe(first);
    await writeFile(join(root, 'b/lock'), 'Y');
    expect(await hashFiles(root, ['**/lock'])).not.toBe(first);
    expect(await hashFiles(root, ['none'])).toBe('');
    const before = await hashFiles(root, ['b/**']);
    await mkdir(join(root, 'b/.next'));
    await writeFile(join(root, 'b/.next/.env'), 'x');
    expect(await hashFiles(root, ['b/**'])).not.toBe(before);
    const moved = await tree({ 'a/lock': 'x', 'c/lock': 'y' });
    expect(await hashFiles(moved, ['**/lock'])).not.toBe(first);
  });
});
