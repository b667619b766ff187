/** Copies of the checkout, as the jobs of `impgem run` get them. */
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { copySnapshot } from '../../src/cli/local/snapshot.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

let snapshot: string;
let target: string;
beforeEach(async () => {
  const folder = await temporaryFolder();
  snapshot = join(folder, 'snapshot');
  target = join(folder, 'workspace');
  await mkdir(join(snapshot, 'lib'), { recursive: true });
  await mkdir(target);
  await writeFile(join(snapshot, '.hidden'), 'hidden');
  await writeFile(join(snapshot, 'lib/file'), 'file');
});

describe('a workspace', () => {
  it.each([true, false])('is filled in its place, where it is mounted already (the last one: %s)', async (last) => {
    const before = await stat(target);
    await copySnapshot(snapshot, target, last, new AbortController().signal);
    expect((await stat(target)).ino).toBe(before.ino);
    expect((await readdir(target)).sort()).toEqual(['.hidden', 'lib']);
    expect(await readFile(join(target, 'lib/file'), 'utf8')).toBe('file');
  });

  it('is not filled further once its job is over', async () => {
    const copying = copySnapshot(snapshot, target, false, AbortSignal.abort(new Error('over')));
    await expect(copying).rejects.toThrow('over');
    expect(await readdir(target)).toEqual([]);
  });
});
