import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { readFirstLine } from '../../src/runs/first-line.ts';

const folder = mkdtempSync(join(tmpdir(), 'impgem-first-line-'));
const file = join(folder, 'file');
afterAll(() => rmSync(folder, { recursive: true }));

const long = 'é'.repeat(10_000);
test.each([
  ['a line of two', 'one\ntwo\n', 'one'],
  ['a line that nothing ends', 'one', 'one'],
  ['nothing', '', ''],
  ['a line longer than the first read, with a letter on its edge', `x${long}\ntwo\n`, `x${long}`],
  ['a long line that nothing ends', long, long],
  ['a line that ends at the edge of the first read', `${'x'.repeat(8191)}\ntwo`, 'x'.repeat(8191)],
  ['a line that ends right after the first read', `${'x'.repeat(8192)}\ntwo`, 'x'.repeat(8192)],
])('gives %s', async (_, text, expected) => {
  writeFileSync(file, text);
  expect(await readFirstLine(file)).toBe(expected);
});

test('gives undefined for no file, and throws for what is none', async () => {
  expect(await readFirstLine(join(folder, 'none'))).toBeUndefined();
  await expect(readFirstLine(folder)).rejects.toMatchObject({ code: 'EISDIR' });
});
