import { execFile } from 'node:child_process';
import {
  chmod,
  lstat,
  mkdir,
  readFile,
  readdir,
  readlink,
  rename,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { pack as createPack, type Header } from 'tar-stream';
import { describe, expect, it } from 'vitest';
import { unpackCache } from '../../src/artifacts/cache-archive.ts';
import { linkStaysInside } from '../../src/artifacts/cache-paths.ts';
import { CACHE_LIMITS, createCacheStore } from '../../src/artifacts/cache-store.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const SCOPE = { repository: 'gitea/o/r', read: ['main'], write: 'main' };
const spec = (key: string, paths = ['deps'], restoreKeys: string[] = []) => ({ key, paths, restoreKeys });

async function makeJob(folder: string, files: Record<string, string> = {}) {
  const roots = { workspace: join(folder, 'workspace'), home: join(folder, 'home') };
  for (const root of Object.values(roots)) await mkdir(root, { recursive: true });
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), content);
  }
  return roots;
}

async function setUp(limits = CACHE_LIMITS) {
  const folder = await temporaryFolder();
  const store = createCacheStore(join(folder, 'store'), limits);
  let jobs = 0;
  return { folder, store, job: (files?: Record<string, string>) => makeJob(join(folder, `job${jobs++}`), files) };
}

const listing = async (folder: string) => (await readdir(folder, { recursive: true })).sort();

describe('save and restore', () => {
  it('brings back contents, modes, times, empty folders and links that stay inside', async () => {
    const { store, job } = await setUp();
    const roots = await job({ 'workspace/deps/bin/tool.js': 'x', 'home/.npm/a': 'y', 'workspace/other': 'no' });
    const source = join(roots.workspace, 'deps');
    await chmod(join(source, 'bin/tool.js'), 0o4751);
    await utimes(join(source, 'bin/tool.js'), 1e9, 1e9);
    await mkdir(join(source, 'empty'));
    await symlink('bin/tool.js', join(source, 'tool'));
    await symlink('../../deps/big', join(source, 'bin/up'));
    await symlink('/usr/bin/python3', join(source, 'python'));
    await symlink('../../../etc', join(source, 'out'));
    await promisify(execFile)('mkfifo', [join(source, 'pipe')]);
    await writeFile(join(source, 'big'), Buffer.alloc(2_000_000, 'big'));
    expect(await store.save(SCOPE, spec('k', ['deps/', '~/.npm', 'missing']), roots)).toMatchObject({
      kept: 9,
      leftOut: 3,
    });

    const fresh = await job();
    expect(await store.restore(SCOPE, spec('k', ['deps/', '~/.npm', 'missing']), fresh)).toBe('k');
    const target = join(fresh.workspace, 'deps');
    expect(await listing(fresh.workspace)).toEqual(
      ['deps', 'deps/big', 'deps/bin', 'deps/bin/tool.js', 'deps/bin/up', 'deps/empty', 'deps/tool'].sort(),
    );
    expect(await readFile(join(fresh.home, '.npm/a'), 'utf8')).toBe('y');
    expect(await readlink(join(target, 'tool'))).toBe('bin/tool.js');
    expect((await stat(join(target, 'bin/tool.js'))).mode & 0o7777).toBe(0o751);
    expect((await stat(join(target, 'bin/tool.js'))).mtimeMs).toBe(1e12);
    expect((await readFile(join(target, 'big'))).equals(Buffer.alloc(2_000_000, 'big'))).toBe(true);
  });

  it('never overwrites a key, and saves nothing when there is nothing', async () => {
    const { store, job } = await setUp();
    expect(await store.save(SCOPE, spec('k'), await job({ 'workspace/deps/a': 'first' }))).toEqual({
      kept: 2,
      leftOut: 0,
    });
    expect(await store.save(SCOPE, spec('k'), await job({ 'workspace/deps/a': 'second' }))).toBeUndefined();
    expect(await store.save(SCOPE, spec('other'), await job())).toEqual({ kept: 0, leftOut: 0 });
    const roots = await job();
    await store.restore(SCOPE, spec('k'), roots);
    expect(await readFile(join(roots.workspace, 'deps/a'), 'utf8')).toBe('first');
    expect(await store.restore(SCOPE, spec('other'), roots)).toBeUndefined();
  });

  it('takes one of many that save the same key at once', async () => {
    const { store, job, folder } = await setUp();
    const stores = [store, createCacheStore(join(folder, 'store'))];
    const jobs = await Promise.all(Array.from({ length: 8 }, (_, n) => job({ 'workspace/deps/a': `${n}` })));
    const saved = await Promise.all(jobs.map((roots, n) => stores[n % 2]!.save(SCOPE, spec('k'), roots)));
    expect(saved.filter(Boolean)).toHaveLength(1);
    const roots = await job();
    await store.restore(SCOPE, spec('k'), roots);
    expect(await readFile(join(roots.workspace, 'deps/a'), 'utf8')).toBe(String(saved.findIndex(Boolean)));
  });

  it('finds the exact key, then the newest that starts with a restore key, scope by scope', async () => {
    const { store, job } = await setUp();
    const save = async (scope: string, key: string) =>
      store.save({ ...SCOPE, write: scope }, spec(key), await job({ 'workspace/deps/a': `${scope} ${key}` }));
    for (const key of ['npm-1', 'npm-2', 'yarn-1']) await save('main', key);
    await save('pr-7', 'npm-0');
    const find = async (read: string[], key: string, restoreKeys: string[]) => {
      const roots = await job();
      const found = await store.restore(
        { repository: SCOPE.repository, read },
        spec(key, ['deps'], restoreKeys),
        roots,
      );
      return found && readFile(join(roots.workspace, 'deps/a'), 'utf8');
    };
    expect(await find(['main'], 'npm-1', ['npm-'])).toBe('main npm-1');
    expect(await find(['main'], 'npm-9', ['npm-'])).toBe('main npm-2');
    expect(await find(['main'], 'npm-9', ['none-', 'yarn-', 'npm-'])).toBe('main yarn-1');
    expect(await find(['main'], 'npm-9', ['', 'np m'])).toBeUndefined();
    expect(await find(['pr-7', 'main'], 'npm-1', ['npm-'])).toBe('pr-7 npm-0');
    expect(await find(['pr-8', 'main'], 'npm-1', [])).toBe('main npm-1');
    expect(await find([], 'npm-1', ['npm-'])).toBeUndefined();
  });

  it('unpacks over what is there, but never through it', async () => {
    const { store, job, folder } = await setUp();
    await store.save(SCOPE, spec('k'), await job({ 'workspace/deps/sub/a': 'cached', 'workspace/deps/b': 'cached' }));
    const roots = await job({ 'workspace/deps/b': 'old', 'workspace/deps/mine': 'mine' });
    await mkdir(join(folder, 'outside'));
    await writeFile(join(folder, 'outside/b'), 'canary');
    await symlink(join(folder, 'outside'), join(roots.workspace, 'deps/sub'));
    await store.restore(SCOPE, spec('k'), roots);
    expect(await readFile(join(roots.workspace, 'deps/sub/a'), 'utf8')).toBe('cached');
    expect(await readFile(join(roots.workspace, 'deps/b'), 'utf8')).toBe('cached');
    expect(await readFile(join(roots.workspace, 'deps/mine'), 'utf8')).toBe('mine');
    expect(await readdir(join(folder, 'outside'))).toEqual(['b']);

    const linked = await job();
    await symlink(join(folder, 'outside'), join(linked.workspace, 'deps'));
    await store.restore(SCOPE, spec('k'), linked);
    expect((await lstat(join(linked.workspace, 'deps'))).isDirectory()).toBe(true);
    expect(await readFile(join(folder, 'outside/b'), 'utf8')).toBe('canary');
  });
});

describe('whose cache it is', () => {
  it('another repository, scope, or list of paths finds nothing, whatever its names', async () => {
    const { store, job } = await setUp();
    await store.save(SCOPE, spec('k'), await job({ 'workspace/deps/a': 'x' }));
    const roots = await job();
    const tries = [
      store.restore({ repository: 'gitea/o/other', read: ['main'] }, spec('k', ['deps'], ['k']), roots),
      store.restore({ repository: 'gitea/o', read: ['r/main', '../o/r/main'] }, spec('k'), roots),
      store.restore({ ...SCOPE, read: ['pr-1'] }, spec('k'), roots),
      store.restore(SCOPE, spec('../main/k', ['deps'], ['../', '*', '.']), roots),
      store.restore(SCOPE, spec('k', ['deps', 'more']), roots),
    ];
    expect(await Promise.all(tries)).toEqual(tries.map(() => undefined));
    expect(await listing(roots.workspace)).toEqual([]);
  });

  it('a scope that may not write writes nothing', async () => {
    const { store, job, folder } = await setUp();
    const roots = await job({ 'workspace/deps/a': 'x' });
    expect(await store.save({ repository: SCOPE.repository, read: ['main'] }, spec('k'), roots)).toBeUndefined();
    await expect(readdir(join(folder, 'store'))).rejects.toThrow();
  });

  it('any text is a key, and none becomes a path', async () => {
    const { store, job, folder } = await setUp();
    const roots = await job({ 'workspace/deps/a': 'x' });
    for (const key of ['../../x', '/etc/x', 'a\0b', 'ключ', '..', 'x'.repeat(500)]) {
      expect(await store.save({ ...SCOPE, write: key }, spec(key), roots)).toBeDefined();
      expect(await store.restore({ ...SCOPE, read: [key] }, spec(key), await job())).toBe(key);
    }
    expect((await readdir(folder)).every((name) => /^(store|job\d+)$/.test(name))).toBe(true);
    for (const key of ['', 'x'.repeat(513)]) {
      await expect(store.restore(SCOPE, spec(key), roots)).rejects.toMatchObject({ code: 'cache-key' });
    }
  });

  it.each(['../x', '/etc', '~', '~root/x', '~/../x', '.', './', '', 'a/../../b', 'a\\b', '~/'])(
    'refuses the path %j',
    async (path) => {
      const { store, job } = await setUp();
      await expect(store.save(SCOPE, spec('k', [path]), await job())).rejects.toMatchObject({ code: 'path-invalid' });
      await expect(store.restore(SCOPE, spec('k', [path]), await job())).rejects.toMatchObject({
        code: 'path-invalid',
      });
    },
  );

  it('packs nothing through a link', async () => {
    const { store, job } = await setUp();
    const roots = await job({ 'home/secret': 's' });
    await symlink(roots.home, join(roots.workspace, 'way'));
    await expect(store.save(SCOPE, spec('k', ['way/secret']), roots)).rejects.toMatchObject({ code: 'cache-refused' });
  });

  it('saves nothing under a key, which is final, when all there is are links', async () => {
    const { store, job } = await setUp();
    const roots = await job({ 'workspace/real/a': 'x' });
    await symlink(roots.home, join(roots.workspace, 'deps'));
    await symlink('real', join(roots.workspace, 'inside'));
    const first = { path: 'deps', why: 'it is a link; name what it leads to' };
    const cache = spec('k', ['deps', 'inside']);
    expect(await store.save(SCOPE, cache, roots)).toEqual({ kept: 0, leftOut: 2, first });
    expect(await store.restore(SCOPE, cache, await job())).toBeUndefined();
    const later = await job({ 'workspace/deps/a': 'x', 'workspace/inside/b': 'x' });
    expect(await store.save(SCOPE, cache, later)).toEqual({ kept: 4, leftOut: 0 });
  });

  it('keeps names with any characters, and counts those that are none', async () => {
    const { store, job } = await setUp();
    const odd = ['a\\b', '..\\..\\x', 'new\nline', '\x01\x1b[31m\x7f', 'ü\n30 path=x\\', 'C:\\x', ' '];
    const roots = await job(
      Object.fromEntries(
        odd.flatMap((name) => [`workspace/deps/${name}`, `home/.npm/${name}/x`].map((at) => [at, name])),
      ),
    );
    const folder = Buffer.from(`${join(roots.workspace, 'deps')}/`);
    await mkdir(Buffer.concat([folder, Buffer.from([0x66, 0xff])]));
    await symlink(Buffer.from([0x66, 0xff]), join(roots.workspace, 'deps/l'));
    const cache = spec('k', ['~/.npm', 'deps']);
    const kept = 2 + 3 * odd.length;
    const saved = await store.save(SCOPE, cache, roots);
    expect(saved).toMatchObject({ kept, leftOut: 2, first: { path: expect.stringMatching(/^deps[/](l|f\ufffd)$/) } });
    const fresh = await job();
    await store.restore(SCOPE, cache, fresh);
    expect(await listing(join(fresh.workspace, 'deps'))).toEqual([...odd].sort());
    for (const name of odd) expect(await readFile(join(fresh.home, '.npm', name, 'x'), 'utf8')).toBe(name);
  });
});

describe('unpackCache', () => {
  const entry = (name: string, more: Partial<Header> = {}, body = 'evil') => ({ header: { name, ...more }, body });
  const archive = (entries: ReturnType<typeof entry>[]) => {
    const pack = createPack();
    for (const { header, body } of entries) pack.entry(header, header.type && header.type !== 'file' ? '' : body);
    pack.finalize();
    return pack as AsyncIterable<Buffer>;
  };

  it.each([
    ['..', [entry('workspace/../../canary')]],
    ['only ..', [entry('..')]],
    ['an absolute name', [entry('/etc/canary')]],
    ['a NUL', [entry('workspace/a', { pax: { path: 'workspace/a\0' } })]],
    ['what is no UTF-8', [entry('workspace/a\ufffd')]],
    ['another root', [entry('store/canary')]],
    ['the root itself', [entry('workspace', { type: 'symlink', linkname: '/etc' })]],
    ['an absolute link', [entry('workspace/l', { type: 'symlink', linkname: '/etc' })]],
    ['a link up and out', [entry('workspace/a/l', { type: 'symlink', linkname: '../../x' })]],
    [
      'a link out by way of another',
      [
        entry('workspace/a/self', { type: 'symlink', linkname: '../a' }),
        entry('workspace/l', { type: 'symlink', linkname: 'a/self/../../canary' }),
      ],
    ],
    ['a hard link', [entry('workspace/h', { type: 'link', linkname: '/etc/passwd' })]],
    ['a hard link inside', [entry('workspace/f'), entry('workspace/h', { type: 'link', linkname: 'workspace/f' })]],
    [
      'a hard link that looks inside',
      [entry('workspace/a/b/c/d/x', { type: 'link', linkname: '../../../../etc/passwd' })],
    ],
    ['a device', [entry('workspace/d', { type: 'character-device', devmajor: 1, devminor: 3 })]],
    ['a pipe', [entry('workspace/p', { type: 'fifo' })]],
    ['an empty part', [entry('workspace//x')]],
  ])('refuses %s', async (_, entries) => {
    const folder = await temporaryFolder();
    const roots = await makeJob(folder);
    await expect(unpackCache(archive(entries), roots)).rejects.toMatchObject({
      code: /^(cache-refused|path-invalid)$/ as never,
    });
    expect(await readdir(folder)).toEqual(['home', 'workspace']);
  });

  it('writes to no place that a link of the same archive names', async () => {
    const folder = await temporaryFolder();
    const roots = await makeJob(folder, { 'workspace/real/file': 'safe' });
    const entries = [
      entry('workspace/l', { type: 'symlink', linkname: 'real' }),
      entry('workspace/l/file'),
      entry('workspace/f', { type: 'symlink', linkname: 'real/file' }),
      entry('workspace/f'),
    ];
    await unpackCache(archive(entries), roots);
    expect(await readFile(join(roots.workspace, 'real/file'), 'utf8')).toBe('safe');
    expect(await readFile(join(roots.workspace, 'l/file'), 'utf8')).toBe('evil');
  });

  it('stays in the folder that it opened when a step swaps it for a link', async () => {
    const folder = await temporaryFolder();
    const roots = await makeJob(folder, { 'outside/canary': 'safe' });
    const pack = createPack();
    pack.entry({ name: 'workspace/d/first' }, 'one');
    const content = async function* () {
      yield* pack as AsyncIterable<Buffer>;
    };
    const done = unpackCache(content(), roots);
    await expect.poll(() => stat(join(roots.workspace, 'd/first')).catch(() => undefined)).toBeDefined();
    await rename(join(roots.workspace, 'd'), join(roots.workspace, 'moved'));
    await symlink(join(folder, 'outside'), join(roots.workspace, 'd'));
    pack.entry({ name: 'workspace/d/canary' }, 'evil');
    pack.finalize();
    await done;
    expect(await readFile(join(folder, 'outside/canary'), 'utf8')).toBe('safe');
    expect(await readFile(join(roots.workspace, 'moved/canary'), 'utf8')).toBe('evil');
  });

  it('says so when a folder is in the way of a file', async () => {
    const roots = await makeJob(await temporaryFolder(), { 'workspace/x/y': 'z' });
    await expect(unpackCache(archive([entry('workspace/x')]), roots)).rejects.toMatchObject({ code: 'file-conflict' });
  });
});

describe('linkStaysInside', () => {
  it.each([
    ['a', 'b', true],
    ['a', './b//c', true],
    ['a', '..', false],
    ['d/a', '..', true],
    ['d/a', '../..', false],
    ['d/e/a', '../../x/y', true],
    ['d/a', 'x/../y', false],
    ['d/a', '', false],
    ['d/a', '/d/a', false],
    ['d/a', 'x\0', false],
  ])('%s -> %s: %s', (path, target, inside) => {
    expect(linkStaysInside(path.split('/'), target)).toBe(inside);
  });
});

describe('room', () => {
  const limits = { entry: 100_000, repository: 200_000, total: 400_000 };
  const body = (n: number) => ({ 'workspace/deps/a': `${n}`.repeat(60_000) });

  it('refuses a cache that is too large, and leaves nothing of it', async () => {
    const { store, job, folder } = await setUp(limits);
    const large = await job({ 'workspace/deps/a': 'x'.repeat(100_001) });
    await expect(store.save(SCOPE, spec('k'), large)).rejects.toMatchObject({ code: 'quota' });
    expect((await listing(join(folder, 'store/blobs'))).filter((name) => name.length > 10)).toEqual([]);
  });

  it('lets the least recently used go: of the repository that needs room first', async () => {
    const { store, job, folder } = await setUp(limits);
    const other = { ...SCOPE, repository: 'gitea/o/other' };
    await store.save(other, spec('other'), await job(body(9)));
    for (const n of [1, 2, 3]) await store.save(SCOPE, spec(`k${n}`), await job(body(n)));
    await store.restore(SCOPE, spec('k1'), await job());
    await store.save(SCOPE, spec('k4'), await job(body(4)));
    await store.save(SCOPE, spec('k5'), await job(body(5)));
    const left = [];
    for (const key of ['k1', 'k2', 'k3', 'k4', 'k5']) {
      if (await store.restore(SCOPE, spec(key), await job())) left.push(key);
    }
    expect(left).toEqual(['k1', 'k4', 'k5']);
    expect(await store.restore(other, spec('other'), await job())).toBe('other');
    const blobs = (await listing(join(folder, 'store/blobs'))).filter((name) => name.length > 60);
    expect(blobs).toHaveLength(4);
  });

  it('removes what a crash left, and a damaged cache', async () => {
    const { store, job, folder } = await setUp();
    await store.save(SCOPE, spec('k'), await job({ 'workspace/deps/a': 'x'.repeat(5000) }));
    await writeFile(join(folder, 'store/blobs/tmp/half'), 'half');
    expect(await store.sweep(Date.now() + 1e8)).toBe(0);
    const names = (await listing(join(folder, 'store/blobs'))).filter((name) => name.includes('/'));
    expect(names).toHaveLength(1);
    await truncate(join(folder, 'store/blobs', names[0]!), 3000);
    await expect(store.restore(SCOPE, spec('k'), await job())).rejects.toMatchObject({ code: 'cache-damaged' });
    expect(await store.restore(SCOPE, spec('k'), await job())).toBeUndefined();
  });
});
