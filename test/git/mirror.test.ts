import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { ensureMirror } from '../../src/git/mirror.ts';
import { git } from '../support/git-http.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

it('makes a mirror whole whose maker was killed in the middle of it', async () => {
  const mirror = join(await temporaryFolder(), 'owner/name.git');
  await mkdir(mirror, { recursive: true });
  // What a kill between the opening and the writing of a file leaves.
  for (const name of ['config', 'HEAD']) await writeFile(join(mirror, name), '');
  await ensureMirror(mirror);
  expect(await git(mirror, 'rev-parse', '--is-bare-repository')).toBe('true');
  expect((await readdir(mirror)).sort()).toEqual(['HEAD', 'config', 'objects', 'refs']);
});
