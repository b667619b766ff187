import { createHash } from 'node:crypto';
import { appendFile, mkdir, readFile, readdir, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { extract } from 'tar-stream';
import { describe, expect, it } from 'vitest';
import { createArtifactStore } from '../../src/artifacts/artifact-store.ts';
import type { ArtifactFile } from '../../src/worker/ports.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const sha256 = (text: string | Buffer) => createHash('sha256').update(text).digest('hex');

async function setUp(limits?: { bytes: number }) {
  const folder = await temporaryFolder();
  const files = async (contents: Record<string, string | Buffer>): Promise<ArtifactFile[]> => {
    for (const [path, content] of Object.entries(contents)) {
      await mkdir(dirname(join(folder, 'ws', path)), { recursive: true });
      await writeFile(join(folder, 'ws', path), content);
    }
    return Object.keys(contents).map((path) => ({ path, source: join(folder, 'ws', path) }));
  };
  const blobs = async () => {
    const names = await readdir(join(folder, 'store/blobs'), { recursive: true }).catch(() => []);
    return names.filter((name) => /[0-9a-f]{64}|tmp[/]/.test(name));
  };
  return { folder, files, blobs, store: createArtifactStore(join(folder, 'store'), limits) };
}

async function unpack(archive: Readable): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  const untar = extract();
  const read = async () => {
    for await (const entry of untar) found[entry.header.name] = sha256(await buffer(entry));
  };
  await Promise.all([pipeline(archive, createGunzip(), untar), read()]);
  return found;
}

describe('add and open', () => {
  it('keeps files with size, hash and what was said about them', async () => {
    const { store, files } = await setUp();
    const [file] = await files({ 'out/a.txt': 'hello' });
    const expiresAt = new Date(Date.now() + 60_000).toISOString();
    await store.add('r1', 'test', [{ ...file!, name: 'report', expiresAt }]);
    const [entry, ...others] = await store.manifest('r1');
    expect(others).toEqual([]);
    expect(entry).toMatchObject({
      job: 'test',
      path: 'out/a.txt',
      name: 'report',
      size: 5,
      sha256: sha256('hello'),
      expiresAt,
    });
    expect(Math.abs(Date.parse(entry!.createdAt) - Date.now())).toBeLessThan(60_000);
    const { stream, ...rest } = await store.open('r1', 'test', 'out/a.txt');
    expect(rest).toEqual({ size: 5, start: 0, end: 4, sha256: sha256('hello') });
    expect((await buffer(stream)).toString()).toBe('hello');
  });

  it.each([
    [{ start: 1, end: 3 }, '123'],
    [{ start: 7 }, '789'],
    [{ start: -2 }, '89'],
    [{ start: -99 }, '0123456789'],
    [{ start: 8, end: 99 }, '89'],
  ])('gives the range %j', async (range, expected) => {
    const { store, files } = await setUp();
    await store.add('r', 'j', await files({ a: '0123456789' }));
    const { stream, start, end, size } = await store.open('r', 'j', 'a', range);
    expect((await buffer(stream)).toString()).toBe(expected);
    expect([end - start + 1, size]).toEqual([expected.length, 10]);
  });

  it('refuses ranges that are not there', async () => {
    const { store, files } = await setUp();
    await store.add('r', 'j', await files({ a: '0123456789', empty: '' }));
    for (const range of [{ start: 10 }, { start: 5, end: 4 }, { start: 0.5 }, { start: NaN }, { start: 0, end: -1 }]) {
      await expect(store.open('r', 'j', 'a', range)).rejects.toMatchObject({ code: 'range-invalid', status: 416 });
    }
    const { stream, size, end } = await store.open('r', 'j', 'empty');
    expect([(await buffer(stream)).length, size, end]).toEqual([0, 0, -1]);
  });

  it('stores the same content once, and a later file of the same path wins', async () => {
    const { store, files, blobs } = await setUp();
    await store.add('r1', 'a', await files({ x: 'same', y: 'same' }));
    await store.add('r2', 'b', await files({ z: 'same' }));
    expect(await blobs()).toHaveLength(1);
    await store.add('r1', 'a', await files({ x: 'newer' }));
    expect((await store.manifest('r1')).map(({ path, sha256: hash }) => [path, hash])).toEqual([
      ['x', sha256('newer')],
      ['y', sha256('same')],
    ]);
  });

  it('takes files of many jobs in many processes at once', async () => {
    const { store, folder, files } = await setUp();
    const other = createArtifactStore(join(folder, 'store'));
    const names = Array.from({ length: 40 }, (_, n) => `f${n}`);
    const all = await files(Object.fromEntries(names.map((name, n) => [name, `content ${n % 7}`])));
    await Promise.all(all.map((file, n) => (n % 2 ? store : other).add('r', `job${n % 5}`, [file])));
    const manifest = await store.manifest('r');
    expect(manifest.map(({ path }) => path).sort()).toEqual([...names].sort());
    for (const entry of manifest) {
      expect(sha256(await buffer((await store.open('r', entry.job, entry.path)).stream))).toBe(entry.sha256);
    }
  });
});

describe('what a stranger may try', () => {
  it.each(['../x', '/etc/passwd', 'a/../../x', 'a\\..\\x', 'a\0b', '', '.', 'a//b', './a', 'a/', 'x'.repeat(5000)])(
    'refuses the path %.20j everywhere',
    async (path) => {
      const { store, files, blobs } = await setUp();
      const [file] = await files({ a: 'x' });
      await expect(store.add('r', 'j', [{ ...file!, path }])).rejects.toMatchObject({ code: 'path-invalid' });
      await expect(store.put('r', 'j', { path }, Readable.from([]))).rejects.toMatchObject({ code: 'path-invalid' });
      await expect(store.open('r', 'j', path)).rejects.toMatchObject({ code: 'path-invalid', status: 400 });
      expect(await blobs()).toEqual([]);
    },
  );

  it.each(['../r', '..', '', 'a/b', 'r\0', '/r'])('refuses the run %j', async (run) => {
    const { store, files } = await setUp();
    await expect(store.add(run, 'j', await files({ a: 'x' }))).rejects.toMatchObject({ code: 'run-invalid' });
    await expect(store.manifest(run)).rejects.toMatchObject({ code: 'run-invalid' });
  });

  it('never follows a link, wherever it is in the path', async () => {
    const { store, folder, files, blobs } = await setUp();
    await files({ 'real/passwd': 'x' });
    await symlink('/etc/passwd', join(folder, 'ws/link'));
    await symlink('real', join(folder, 'ws/folder'));
    for (const path of ['link', 'folder/passwd', 'real', 'none']) {
      const attempt = store.add('r', 'j', [{ path: 'a', source: join(folder, 'ws', path) }]);
      await expect(attempt).rejects.toMatchObject({ code: 'file-refused' });
    }
    expect([await blobs(), await store.manifest('r')]).toEqual([[], []]);
  });

  it('takes no more than the limit, and leaves nothing half-written', async () => {
    const { store, files, blobs } = await setUp({ bytes: 100 });
    await expect(store.add('r', 'j', await files({ a: 'x'.repeat(101) }))).rejects.toMatchObject({ code: 'quota' });
    expect([await blobs(), await store.manifest('r')]).toEqual([[], []]);
    await store.add('r', 'j', await files({ a: 'x'.repeat(100) }));
  });

  it('knows neither what was never there nor what expired', async () => {
    const { store, files } = await setUp();
    await store.add('r', 'j', await files({ a: 'x' }));
    for (const [run, job, path] of [
      ['r2', 'j', 'a'],
      ['r', 'k', 'a'],
      ['r', 'j', 'b'],
    ] as const) {
      await expect(store.open(run, job, path)).rejects.toMatchObject({ code: 'artifact-unknown', status: 404 });
    }
    const past = new Date(Date.now() - 1000).toISOString();
    await store.put('r', 'j', { path: 'old', expiresAt: past }, Readable.from([Buffer.from('o')]));
    await expect(store.open('r', 'j', 'old')).rejects.toMatchObject({ code: 'artifact-expired', status: 410 });
    expect((await store.manifest('r')).map(({ path }) => path)).toEqual(['a']);
    await store.inherit('r', 'again', ['j']);
    await expect(store.open('again', 'j', 'old')).rejects.toMatchObject({ code: 'artifact-expired', status: 410 });
    expect((await store.manifest('again')).map(({ path }) => path)).toEqual(['a']);
    const badTime = store.put('r', 'j', { path: 'a', expiresAt: 'soon' }, Readable.from([]));
    await expect(badTime).rejects.toMatchObject({ code: 'time-invalid' });
  });
});

describe('put', () => {
  it('takes a stream and refuses one that is cut off or differs from its hash', async () => {
    const { store, blobs } = await setUp();
    const entry = await store.put(
      'r',
      'j',
      { path: 'a', sha256: sha256('abcd') },
      Readable.from([Buffer.from('ab'), Buffer.from('cd')]),
    );
    expect(entry).toMatchObject({ size: 4, sha256: sha256('abcd') });
    const cut = Readable.from(
      (function* () {
        yield Buffer.from('half');
        throw new Error('aborted');
      })(),
    );
    await expect(store.put('r', 'j', { path: 'b' }, cut)).rejects.toMatchObject({ code: 'content-cut' });
    const other = store.put('r', 'j', { path: 'b', sha256: sha256('x') }, Readable.from([Buffer.from('y')]));
    await expect(other).rejects.toMatchObject({ code: 'artifact-differs' });
    expect((await store.manifest('r')).map(({ path }) => path)).toEqual(['a']);
    expect((await blobs()).filter((name) => name.startsWith('tmp'))).toEqual([]);
  });
});

describe('archive', () => {
  it('holds every file, long names and large files too', async () => {
    const { store, files } = await setUp();
    const contents = {
      'a.txt': 'a',
      empty: '',
      [`${'deep/'.repeat(40)}${'n'.repeat(120)}.txt`]: 'deep',
      'ünï/cödé 😀': 'u',
      big: Buffer.alloc(3_000_000, 'big '),
    };
    await store.add('r', 'one', await files(contents));
    await store.add('r', 'two', await files({ 'a.txt': 'other' }));
    const expected = Object.entries(contents).map(([path, content]) => [`one/${path}`, sha256(content)]);
    expect(await unpack(store.archive('r'))).toEqual({ ...Object.fromEntries(expected), 'two/a.txt': sha256('other') });
    expect(await unpack(store.archive('none'))).toEqual({});
  });

  it('lets go of everything when the reader leaves', async () => {
    const { store, files } = await setUp();
    await store.add('r', 'j', await files({ a: Buffer.alloc(20_000_000, Math.random().toString()), b: 'b' }));
    const open = async () => (await readdir('/proc/self/fd')).length;
    const before = await open();
    for (let n = 0; n < 5; n++) {
      const stream = store.archive('r');
      for await (const block of stream) {
        expect(block).toBeInstanceOf(Buffer);
        break;
      }
      expect(stream.destroyed).toBe(true);
    }
    await expect.poll(open).toBeLessThanOrEqual(before);
  });

  it('fails, not ends, when a content is lost', async () => {
    const { store, folder, files, blobs } = await setUp();
    await store.add('r', 'j', await files({ a: 'x' }));
    const [blob] = await blobs();
    await truncate(join(folder, 'store/blobs', blob!), 0);
    await expect(unpack(store.archive('r'))).rejects.toThrow();
    await expect(unpack(createArtifactStore(join(folder, 'store/..', 'none')).archive('../r'))).rejects.toThrow();
  });
});

describe('after a crash', () => {
  it('a torn line harms neither the lines before nor those after it', async () => {
    const { store, folder, files } = await setUp();
    await store.add('r', 'j', await files({ a: '1' }));
    const path = join(folder, 'store/runs/r.jsonl');
    await appendFile(path, '\n{"job":"j","path":"torn","si');
    await store.add('r', 'j', await files({ b: '2' }));
    expect((await store.manifest('r')).map((entry) => entry.path)).toEqual(['a', 'b']);
    expect(await readFile(path, 'utf8')).toContain('torn');
  });
});

describe('sweep', () => {
  it('frees what expired or was removed, and nothing that is young or named', async () => {
    const { store, folder, files, blobs } = await setUp();
    const [kept, expired, removed] = await files({ kept: 'kept', expired: 'expired!', removed: 'removed' });
    const expiresAt = new Date(Date.now() + 1000).toISOString();
    await store.add('r1', 'j', [kept!, { ...expired!, expiresAt }]);
    await store.add('r2', 'j', [removed!]);
    await writeFile(join(folder, 'store/blobs/tmp/left-by-a-crash'), 'half');
    const later = Date.now() + 2 * 3_600_000;
    await store.remove('r2');
    expect(await store.sweep()).toBe(0);
    expect(await blobs()).toHaveLength(4);
    expect(await store.sweep(later)).toBe('expired!'.length + 'removed'.length);
    expect(await blobs()).toHaveLength(1);
    expect((await buffer((await store.open('r1', 'j', 'kept')).stream)).toString()).toBe('kept');
  });

  it('spares a content that is old but was just added again', async () => {
    const { store, folder, files, blobs } = await setUp();
    await store.add('r1', 'j', await files({ a: 'again' }));
    const [blob] = await blobs();
    const old = new Date(Date.now() - 86_400_000);
    await utimes(join(folder, 'store/blobs', blob!), old, old);
    await store.remove('r1');
    await store.add('r2', 'j', await files({ b: 'again' }));
    await store.remove('r2');
    expect(await store.sweep()).toBe(0);
  });
});
