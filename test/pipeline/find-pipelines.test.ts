import { describe, expect, test } from 'vitest';
import { type FileReader, findPipelines } from '../../src/pipeline/find-pipelines.ts';

const steps = 'steps: [{ run: make }]';

/** Files by path, as a commit has them. */
function reader(files: Record<string, string>): FileReader {
  return {
    list: (folder) =>
      Promise.resolve(
        Object.keys(files)
          .filter((path) => path.startsWith(`${folder}/`))
          .map((path) => path.slice(folder.length + 1)),
      ),
    read: (path) => Promise.resolve(Object.hasOwn(files, path) ? files[path] : undefined),
  };
}

const found = async (files: Record<string, string>) =>
  (await findPipelines(reader(files))).map(({ file, name, diagnostics }) =>
    [file, name, ...diagnostics.map(({ code }) => code)].join(' ').trim(),
  );

describe('which files are pipelines', () => {
  test('none', async () => {
    expect(await found({ 'README.md': 'x', '.impgem/README.md': 'x' })).toEqual([]);
  });

  test('.impgem.yml comes first, then .impgem.yaml, then the folder', async () => {
    const folder = { '.impgem/a.yml': steps, '.impgem/b.yaml': steps };
    expect(await found({ ...folder, '.impgem.yaml': steps, '.impgem.yml': steps })).toEqual(['.impgem.yml']);
    expect(await found({ ...folder, '.impgem.yaml': steps })).toEqual(['.impgem.yaml']);
    expect(await found(folder)).toEqual(['.impgem/a.yml a', '.impgem/b.yaml b']);
  });

  test('files in deeper folders, and other files, are none', async () => {
    expect(await found({ '.impgem/a.yml': steps, '.impgem/shared/b.yml': steps, '.impgem/c.txt': 'x' })).toEqual([
      '.impgem/a.yml a',
    ]);
  });

  test('a mistake in one does not touch the other', async () => {
    expect(await found({ '.impgem/a.yml': 'stepz: 1', '.impgem/b.yml': `name: nightly\n${steps}` })).toEqual([
      '.impgem/a.yml a unknown-key',
      '.impgem/b.yml nightly',
    ]);
  });

  test('two of one name would share their status contexts', async () => {
    expect(
      await found({ '.impgem/a.yml': steps, '.impgem/b.yml': `name: a\n${steps}`, '.impgem/a.yaml': steps }),
    ).toEqual(['.impgem/a.yaml a', '.impgem/a.yml a name-twice', '.impgem/b.yml a name-twice']);
  });

  test('an empty one is a mistake, not nothing', async () => {
    expect(await found({ '.impgem.yml': '' })).toEqual(['.impgem.yml  not-a-map']);
  });
});

describe('more than a server can hold', () => {
  const many = (count: number, text: string) =>
    Object.fromEntries(Array.from({ length: count }, (_, index) => [`.impgem/p${100 + index}.yml`, text]));

  test('pipelines after the 50th are told', async () => {
    expect(await found(many(50, steps))).not.toContainEqual(expect.stringContaining('too-many'));
    const loaded = await found(many(52, steps));
    expect(loaded).toHaveLength(51);
    expect(loaded.at(-1)).toBe('.impgem/p150.yml p150 too-many-pipelines');
  });

  test('a file that all include is read once', async () => {
    const reads: string[] = [];
    const text = `include: [${'ci/a.yml, '.repeat(50)}]\n${steps}`;
    const inner = reader({ ...many(50, text), 'ci/a.yml': 'env: { A: 1 }' });
    const loaded = await findPipelines({
      ...inner,
      read: (path) => {
        reads.push(path);
        return inner.read(path);
      },
    });
    expect(loaded.map(({ pipeline }) => pipeline?.source.env)).toEqual(Array.from({ length: 50 }, () => ({ A: 1 })));
    expect(reads.filter((path) => path === 'ci/a.yml')).toHaveLength(1);
  });

  test('all together have at most 2 MiB, with what they include', async () => {
    const files = { ...many(50, `include: ci/a.yml\n${steps}`), 'ci/a.yml': `env: { A: 1 } # ${'x'.repeat(100_000)}` };
    const loaded = await found(files);
    expect(loaded.filter((one) => !one.includes('too-large'))).toHaveLength(20);
    expect(loaded.at(-1)).toBe('.impgem/p149.yml p149 pipelines-too-large');
  });
});

describe('include', () => {
  test('brings the text of every file for the frames, and the place of a mistake in it', async () => {
    const files = {
      '.impgem.yml': `include: [ci/a.yml, ci/b.yml]\n${steps}`,
      'ci/a.yml': 'env: { A: 1 }',
      'ci/b.yml': '\nimge: x',
    };
    const [loaded] = await findPipelines(reader(files));
    expect(Object.keys(loaded?.sources ?? {})).toEqual(['.impgem.yml', 'ci/a.yml', 'ci/b.yml']);
    expect(loaded?.diagnostics).toMatchObject([{ code: 'unknown-key', file: 'ci/b.yml', line: 2, column: 1 }]);
  });

  test('never reads outside of the repository', async () => {
    const asked: string[] = [];
    const inner = reader({
      '.impgem.yml': `include: [/etc/passwd, ../x.yml, a/../../x.yml, "http://h/x.yml", "x.yml\\0", .git/config, "ci\\\\x.yml"]\n${steps}`,
    });
    const [loaded] = await findPipelines({
      ...inner,
      read: (path) => {
        asked.push(path);
        return inner.read(path);
      },
    });
    expect(asked).toEqual(['.impgem.yml']);
    expect(loaded?.diagnostics.map(({ code }) => code)).toEqual(Array.from({ length: 7 }, () => 'include-invalid'));
  });

  test('of itself, of a missing file, of a file that includes', async () => {
    const files = { '.impgem.yml': `include: [.impgem.yml, no.yml]\n${steps}` };
    expect(await found(files)).toEqual(['.impgem.yml  include-invalid include-invalid']);
  });
});
