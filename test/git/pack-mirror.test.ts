import { readdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createGit } from '../../src/git/git.ts';
import { git as plain, makeRepository, makeTempFolder } from '../support/git-http.ts';

let temp: Awaited<ReturnType<typeof makeTempFolder>>;
beforeAll(async () => {
  temp = await makeTempFolder();
});
afterAll(() => temp.remove());

test('many fetches leave few packs, and no object is lost, reachable or not', async () => {
  const remote = await makeRepository(temp.path, 'maria/gem');
  const git = createGit({ folder: join(temp.path, 'mirrors'), allowFile: true, fetchTimeoutMs: 30_000 });
  const packs = join(temp.path, 'mirrors/github/maria/gem.git/objects/pack');
  const source = { url: `file://${remote.bare}` };
  const shas: string[] = [];
  for (let index = 0; index < 53; index++) {
    // Each forced over the one before: no ref reaches it any more.
    if (index > 0) await remote.git('commit', '-q', '--amend', '-m', `Amended ${index}`);
    const sha = await remote.commit({ [`file-${index}`]: `${index}` });
    await git.fetchCommit(source, 'github/maria/gem', { ref: 'refs/heads/main', sha });
    shas.push(sha);
    if (index === 0) {
      for (const name of ['tmp_pack_old', 'tmp_pack_new']) await writeFile(join(packs, name), 'half');
      await utimes(join(packs, 'tmp_pack_old'), new Date(0), new Date(0));
    }
  }
  const names = await readdir(packs);
  expect(names.filter((name) => name.endsWith('.pack')).length).toBeLessThan(20);
  expect(names.filter((name) => name.startsWith('tmp_'))).toEqual(['tmp_pack_new']);
  const mirror = join(packs, '../..');
  for (const sha of shas) expect(await plain(mirror, 'cat-file', '-t', sha)).toBe('commit');
});
