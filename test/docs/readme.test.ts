/** The README against the code: what it shows must be there, and what is there it must show. */
import { readdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { globSync } from 'tinyglobby';
import { expect, test } from 'vitest';
import { SettingsSchema } from '../../src/config/schema.ts';
import { settingsTable } from '../../src/config/settings-table.ts';
import { loadPipeline } from '../../src/pipeline/find-pipelines.ts';
import { codeBlocks, prose, readText, ROOT } from '../support/markdown.ts';

test('the settings table is the one of the schema (`npm run docs` writes it)', async () => {
  const readme = readText('README.md');
  const table = /(<!-- settings:.*?-->\n\n).*?(\n?<!-- \/settings -->)/s;
  expect(readme).toMatch(table);
  const current = readme.replace(table, (_, begin: string) => `${begin}${settingsTable()}\n<!-- /settings -->`);
  await expect(current).toMatchFileSnapshot(resolve(ROOT, 'README.md'));
});

test('.env.example has every setting, with its default', () => {
  const lines = readText('.env.example').split('\n');
  for (const [name, schema] of Object.entries(SettingsSchema.properties)) {
    const shown = lines.filter((line) => line.replace(/^#/, '').startsWith(`${name}=`));
    expect(shown, name).toHaveLength(1);
    if (shown[0]?.startsWith('#'))
      expect(shown[0]).toBe(`#${name}=${'default' in schema ? String(schema.default) : ''}`);
  }
});

test('it opens with the two commands', () => {
  const [first = ''] = codeBlocks('README.md');
  expect(first.split('\n').map((line) => line.split(' #')[0]?.trim())).toEqual(['make demo', 'make test', '']);
  expect(readText('README.md')).toMatch(/^# Imp Gem\n\n```sh\nmake demo/);
});

test('the table of folders is the tree of src/', () => {
  const rows = [...prose('README.md').matchAll(/^\| \[([a-z]+)\/\]\(src\/([a-z]+)\)/gm)];
  for (const [, name, target] of rows) expect(target).toBe(name);
  const folders = globSync('src/*/**/*.ts', { cwd: ROOT }).map((file) => file.split('/')[1]);
  expect(rows.map(([, name]) => name).sort()).toEqual([...new Set(folders)].sort());
});

test('the picture names folders that exist', () => {
  const picture = codeBlocks('README.md', 'text').join('\n');
  const named = new Set([...picture.matchAll(/\b([a-z]+)\//g)].map(([, name = '']) => name));
  const folders = readdirSync(resolve(ROOT, 'src'));
  expect(named.size).toBeGreaterThan(8);
  for (const name of named) expect(folders).toContain(name);
});

test('the pipelines it shows are without fault', async () => {
  const shown = codeBlocks('README.md', 'yaml');
  expect(shown.length).toBeGreaterThan(0);
  for (const text of shown) expect((await load(text)).diagnostics).toEqual([]);
});

test('our own pipeline and those of the examples are without fault', async () => {
  const examples = readdirSync(resolve(ROOT, 'examples')).map((name) => `examples/${name}/.impgem.yml`);
  expect(examples.length).toBeGreaterThanOrEqual(3);
  for (const file of ['.impgem.yml', ...examples]) expect((await load(readText(file))).diagnostics, file).toEqual([]);
});

function load(text: string): ReturnType<typeof loadPipeline> {
  return loadPipeline('.impgem.yml', text, {
    list: () => Promise.resolve([]),
    read: (path) => Promise.resolve(readFileSync(resolve(ROOT, path), 'utf8')),
  });
}
