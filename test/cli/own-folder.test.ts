import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { ownFolder } from '../../src/cli/own-folder.ts';

const temp = mkdtempSync(join(tmpdir(), 'impgem-own-folder-'));
afterAll(() => rmSync(temp, { recursive: true, force: true }));

test('a folder is made with its parents, for us only, and can be taken once', async () => {
  const folder = join(temp, 'a/b/c');
  const disown = await ownFolder(folder);
  expect(statSync(folder).mode & 0o777).toBe(0o700);
  await expect(ownFolder(folder)).rejects.toMatchObject({ code: 'already-running' });
  await disown();
  await (
    await ownFolder(folder)
  )();
});

test.each([
  ['that nobody has', undefined],
  ['of a process that is gone', '999999999 12345\n'],
  ['whose file was lost with the power', ''],
])('of many that start at once one has the folder %s', async (_, text) => {
  for (let round = 0; round < 20; round++) {
    const folder = mkdtempSync(join(temp, 'raced-'));
    if (text !== undefined) writeFileSync(join(folder, 'up.pid'), text);
    const startLater = async (turns: number) => {
      for (let turn = 0; turn < turns; turn++) await new Promise(setImmediate);
      return ownFolder(folder);
    };
    const starts = await Promise.allSettled(Array.from({ length: 20 }, (__, index) => startLater(index)));
    const owners = starts.filter((start) => start.status === 'fulfilled');
    expect(owners).toHaveLength(1);
    for (const start of starts)
      if (start.status === 'rejected') expect(start.reason).toMatchObject({ code: 'already-running' });
    expect(readdirSync(folder)).toEqual(['up.pid']);
    await owners[0]?.value();
    expect(readdirSync(folder)).toEqual([]);
  }
});

describe('a folder that cannot be is refused at once, with what to set', () => {
  writeFileSync(join(temp, 'file'), '');
  test.each([join(temp, 'file'), join(temp, 'file/below'), '/dev/null/x', '/proc/x', '/proc/x/y'])(
    '%s',
    async (folder) => {
      await expect(ownFolder(folder)).rejects.toMatchObject({
        code: 'data-folder',
        message: expect.stringMatching(/^The data folder \S+ cannot be used \(E[A-Z]+\): set IMPGEM_DATA to another$/),
      });
    },
  );
});
