import { appendFile, readdir, readFile, readlink, stat, truncate, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { diskError } from '../../src/errors.ts';
import { createLogStore, type LogStore } from '../../src/logs/log-store.ts';
import type { LogKey } from '../../src/runs/run.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const KEY: LogKey = { run: 'r1', job: 'test', attempt: 1, part: '0' };

async function text(store: LogStore, key = KEY, from = 0, to?: number): Promise<string> {
  const blocks: Buffer[] = [];
  for await (const block of store.read(key, from, to)) blocks.push(block);
  return Buffer.concat(blocks).toString('latin1');
}

async function lineText(store: LogStore, first: number, count: number): Promise<string> {
  const { from, to } = await store.lines(KEY, first, count);
  return text(store, KEY, from, to);
}

function openStore(folder: string): LogStore {
  const store = createLogStore(folder);
  onTestFinished(() => store.dispose());
  return store;
}

const code = (name: string) => expect.objectContaining({ code: name });

describe('append', () => {
  it('stores bytes at their offset, in any number of calls at once', async () => {
    const store = openStore(await temporaryFolder());
    await Promise.all([store.append(KEY, 0, Buffer.from('one\n')), store.append(KEY, 4, Buffer.from('two\n'))]);
    expect(await store.length(KEY)).toBe(8);
    expect(await text(store)).toBe('one\ntwo\n');
    expect(await text(store, KEY, 2, 6)).toBe('e\ntw');
  });

  it('takes the same bytes again, refuses others and a gap', async () => {
    const store = openStore(await temporaryFolder());
    await store.append(KEY, 0, Buffer.from('hello'));
    await store.append(KEY, 0, Buffer.from('hello'));
    await store.append(KEY, 3, Buffer.from('lo world'));
    await expect(store.append(KEY, 3, Buffer.from('LO world'))).rejects.toEqual(code('log-differs'));
    await expect(store.append(KEY, 12, Buffer.from('!'))).rejects.toEqual(code('log-gap'));
    for (const offset of [-1, 0.5, NaN, Infinity]) {
      await expect(store.append(KEY, offset, Buffer.from('x'))).rejects.toEqual(code('log-offset'));
    }
    expect(await text(store)).toBe('hello world');
    expect(await text(store, KEY, -5, 5)).toBe('hello');
  });

  it('takes nothing new once closed, also after a restart', async () => {
    const folder = await temporaryFolder();
    const store = openStore(folder);
    await store.append(KEY, 0, Buffer.from('done\n'));
    expect(await store.stat(KEY)).toEqual({ length: 5, closed: false });
    await store.close(KEY);
    for (const again of [store, openStore(folder)]) {
      await again.append(KEY, 0, Buffer.from('done\n'));
      await again.close(KEY);
      await expect(again.append(KEY, 5, Buffer.from('more'))).rejects.toEqual(code('log-closed'));
      expect(await again.stat(KEY)).toEqual({ length: 5, closed: true });
    }
  });

  it('goes on where another process stopped', async () => {
    const folder = await temporaryFolder();
    const [first, second] = [openStore(folder), openStore(folder)];
    await first.append(KEY, 0, Buffer.from('a\n'));
    await second.append(KEY, 2, Buffer.from('b\n'));
    // The first one, which was thought dead, replays and goes on.
    await first.append(KEY, 2, Buffer.from('b\nc\n'));
    await expect(second.append(KEY, 4, Buffer.from('x\n'))).rejects.toEqual(code('log-differs'));
    await second.close(KEY);
    expect(await text(first)).toBe('a\nb\nc\n');
    expect(await first.countLines(KEY)).toBe(3);
  });

  it('sees that another process closed it', async () => {
    const folder = await temporaryFolder();
    const [first, second] = [openStore(folder), openStore(folder)];
    await first.append(KEY, 0, Buffer.from('a\n'));
    await second.close(KEY);
    await expect(first.append(KEY, 2, Buffer.from('late\n'))).rejects.toEqual(code('log-closed'));
    await first.close(KEY);
    expect(await first.stat(KEY)).toEqual({ length: 2, closed: true });
  });

  it('keeps a closed log closed when its files were shut to make room', async () => {
    const store = openStore(await temporaryFolder());
    await store.append(KEY, 0, Buffer.from('a\n'));
    await store.close(KEY);
    await store.append(KEY, 0, Buffer.from('a\n'));
    for (let n = 1; n <= 150; n++) await store.append({ ...KEY, part: String(n) }, 0, Buffer.from('x'));
    await expect(store.append(KEY, 2, Buffer.from('late\n'))).rejects.toEqual(code('log-closed'));
  });

  it('writes to far more logs than it holds open', async () => {
    const store = openStore(await temporaryFolder());
    const keys = Array.from({ length: 400 }, (_, n) => ({ ...KEY, part: String(n) }));
    for (const round of [0, 1, 2]) {
      await Promise.all(keys.map((key) => store.append(key, round * 2, Buffer.from(`${round}\n`))));
    }
    const own = (await readdir('/proc/self/fd')).length;
    expect(own).toBeLessThan(400);
    for (const key of keys) expect(await text(store, key)).toBe('0\n1\n2\n');
    await store.dispose();
  });

  it('closes a log that never had a byte', async () => {
    const store = openStore(await temporaryFolder());
    expect(await store.stat(KEY)).toBeUndefined();
    expect(await store.length(KEY)).toBe(0);
    expect(await text(store)).toBe('');
    await store.close(KEY);
    expect(await store.stat(KEY)).toEqual({ length: 0, closed: true });
    expect(await store.countLines(KEY)).toBe(0);
  });

  it('says so when the disk fails, without a path', async () => {
    const store = openStore('/dev/full/logs');
    await expect(store.append(KEY, 0, Buffer.from('x'))).rejects.toEqual(code('disk-error'));
    await expect(store.append(KEY, 0, Buffer.from('x'))).rejects.not.toThrow('/dev');
    const full = diskError(
      'the log',
      Object.assign(new Error('ENOSPC: no space left, write /srv/x'), { code: 'ENOSPC' }),
    );
    expect(full).toMatchObject({ code: 'disk-full', retryable: true });
    expect(full.message).not.toContain('/srv');
  });
});

describe('lines', () => {
  it('finds any range of lines, however the bytes came', async () => {
    const line = fc.oneof(
      fc.constant(''),
      fc.string({ maxLength: 30 }),
      fc.nat(200_000).map((n) => 'x'.repeat(n)),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(line, { maxLength: 40 }),
        fc.array(fc.nat(300_000), { maxLength: 20 }),
        fc.boolean(),
        fc.nat(45),
        fc.nat(45),
        async (lines, sizes, open, first, count) => {
          const store = openStore(await temporaryFolder());
          const whole = Buffer.from(
            lines.map((value) => `${value.replaceAll('\n', '')}\n`).join('') + (open ? 'tail' : ''),
          );
          let at = 0;
          for (const size of [...sizes, whole.length]) {
            await store.append(KEY, at, whole.subarray(at, at + size));
            at = Math.min(whole.length, at + size);
          }
          const all = whole.toString('latin1').split(/(?<=\n)/);
          const exist = all[0] === '' ? [] : all;
          expect(await store.countLines(KEY)).toBe(exist.length);
          expect(await lineText(store, first, count)).toBe(exist.slice(first, first + count).join(''));
          const range = await store.lines(KEY, first, count);
          expect(range.count).toBe(exist.slice(first, first + count).length);
          await store.dispose();
        },
      ),
      { numRuns: 60 },
    );
  });

  it('tells when bytes came', async () => {
    const store = openStore(await temporaryFolder());
    const before = Date.now();
    await store.append(KEY, 0, Buffer.from('x'.repeat(100_000)));
    await store.close(KEY);
    const marks = await store.marks(KEY, 70_000, 100_000);
    expect(marks.map(({ offset, line }) => ({ offset, line }))).toEqual([{ offset: 65_536, line: 0 }]);
    expect(marks[0]!.time).toBeGreaterThanOrEqual(before);
    expect(marks[0]!.time).toBeLessThanOrEqual(Date.now());
    expect(await store.marks({ ...KEY, part: 'job' }, 0, 10)).toEqual([]);
  });
});

describe('after a crash', () => {
  const body = Buffer.from(Array.from({ length: 30_000 }, (_, n) => `line ${n}\n`).join(''));
  const damages: [string, (path: string) => Promise<unknown>][] = [
    ['is gone', (path) => truncate(path, 0)],
    ['lags', async (path) => truncate(path, (await stat(path)).size - 48)],
    ['is torn', async (path) => truncate(path, (await stat(path)).size - 5)],
    ['holds zeros', async (path) => writeFile(path, Buffer.alloc((await stat(path)).size))],
    [
      'says wrong lines',
      async (path) => {
        const bytes = await readFile(path);
        bytes.writeDoubleLE(7, 2 * 24 + 8);
        await writeFile(path, bytes);
      },
    ],
    ['runs ahead of the log', (path) => appendFile(path, Buffer.from(new Float64Array([1e9, 1e6, 1e12]).buffer))],
    ['claims the end', (path) => appendFile(path, Buffer.from(new Float64Array([body.length - 1, 9, -5]).buffer))],
  ];

  it.each(damages)('the writer mends an index that %s', async (_, damage) => {
    const folder = await temporaryFolder();
    const store = openStore(folder);
    for (let at = 0; at < body.length; at += 10_000) await store.append(KEY, at, body.subarray(at, at + 10_000));
    await store.dispose();
    const index = join(folder, 'r1/test/1/0.idx');
    await damage(index);

    const after = openStore(folder);
    expect((await after.stat(KEY))?.closed).toBe(false);
    await after.append(KEY, body.length, Buffer.from('the end\n'));
    await after.close(KEY);
    expect(await after.countLines(KEY)).toBe(30_001);
    expect(await lineText(after, 29_998, 3)).toBe('line 29998\nline 29999\nthe end\n');
    expect(await lineText(after, 12_345, 1)).toBe('line 12345\n');
    // True marks only, dense enough to find any line quickly.
    const marks = await after.marks(KEY, 0, Infinity);
    const whole = Buffer.concat([body, Buffer.from('the end\n')]);
    for (const [n, mark] of marks.entries()) {
      expect(whole.subarray(0, mark.offset).toString().split('\n').length - 1).toBe(mark.line);
      expect((marks[n + 1]?.offset ?? whole.length) - mark.offset).toBeLessThanOrEqual(65_536);
    }
  });
});

describe('a reader', () => {
  it('that stops half-way, or is slow, keeps no writer waiting', async () => {
    const store = openStore(await temporaryFolder());
    await store.append(KEY, 0, Buffer.alloc(1_000_000, 'a'));
    const slow = store.read(KEY, 0, undefined, 1000)[Symbol.asyncIterator]();
    expect((await slow.next()).value).toHaveLength(1000);
    await store.append(KEY, 1_000_000, Buffer.from('b'));
    await store.close(KEY);
    let rest = 1000;
    for (let next = await slow.next(); !next.done; next = await slow.next()) rest += next.value.length;
    expect(rest).toBe(1_000_001);
  });
});

describe('list and remove', () => {
  it('lets go of the open logs of a run that is removed', async () => {
    const folder = await temporaryFolder();
    const store = openStore(folder);
    await store.append(KEY, 0, Buffer.from('never closed\n'));
    await store.append({ ...KEY, run: 'r10' }, 0, Buffer.from('of another run\n'));
    const opened = async (): Promise<string[]> => {
      const numbers = await readdir('/proc/self/fd');
      const paths = await Promise.all(numbers.map((one) => readlink(`/proc/self/fd/${one}`).catch(() => '')));
      return paths.filter((path) => path.startsWith(folder)).map((path) => relative(folder, path).split('/')[0] ?? '');
    };
    expect(new Set(await opened())).toEqual(new Set(['r1', 'r10']));
    await store.remove('r1');
    expect(new Set(await opened())).toEqual(new Set(['r10']));
  });

  it('lists every attempt in order and removes one run only', async () => {
    const store = openStore(await temporaryFolder());
    const keys: LogKey[] = [
      { run: 'r1', job: '', attempt: 0, part: 'run' },
      { run: 'r1', job: 'a', attempt: 1, part: '2' },
      { run: 'r1', job: 'a', attempt: 1, part: '10' },
      { run: 'r1', job: 'a', attempt: 1, part: 'job' },
      { run: 'r1', job: 'a', attempt: 1, part: 'service-redis' },
      { run: 'r1', job: 'a', attempt: 2, part: '0' },
      { run: 'r1', job: 'a', attempt: 10, part: '0' },
      { run: 'r1', job: 'b', attempt: 1, part: '0' },
    ];
    for (const key of [...keys, { ...KEY, run: 'r10' }].reverse()) await store.append(key, 0, Buffer.from('x'));
    expect(await store.list('r1')).toEqual(keys);
    await store.remove('r1');
    expect(await store.list('r1')).toEqual([]);
    expect(await store.list('r10')).toHaveLength(1);
    // A new log under the same name starts empty.
    await store.append(KEY, 0, Buffer.from('new'));
    expect(await text(store)).toBe('new');
  });
});

describe('hostile keys', () => {
  const bad: Partial<LogKey>[] = [
    ...['..', '.', '', 'a/b', '../x', 'a\\b', 'a\0b', '-x', '/etc', 'x'.repeat(200), 'a\n'].map((run) => ({ run })),
    ...['..', '.', '-', 'a/b', '../../x', 'a.b', 'ä', 'a\0', 'x'.repeat(200)].map((job) => ({ job })),
    ...['..', '', '../0', '0/..', '.hidden', '-', 'a b'].map((part) => ({ part })),
    ...[-1, 1.5, NaN, Infinity].map((attempt) => ({ attempt })),
  ];
  it.each(bad)('refuses %j', async (change) => {
    const folder = await temporaryFolder();
    const store = openStore(join(folder, 'logs'));
    const key = { ...KEY, ...change };
    const tries = [
      () => store.append(key, 0, Buffer.from('x')),
      () => store.stat(key),
      () => store.close(key),
      () => store.lines(key, 0, 1),
      () => text(store, key),
    ];
    for (const attempt of tries) await expect(async () => attempt()).rejects.toEqual(code('log-key'));
    if (change.run !== undefined) await expect(async () => store.remove(key.run)).rejects.toEqual(code('log-key'));
    expect(await readdir(folder)).toEqual([]);
  });
});
