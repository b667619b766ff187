import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { createGit } from '../../src/git/git.ts';
import { createMirrorLock } from '../../src/git/mirror-lock.ts';
import { ensureMirror, mirrorPath } from '../../src/git/mirror.ts';
import { git, makeRepository } from '../support/git-http.ts';
import { smallDisk } from '../support/small-disk.ts';
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

const full = expect.objectContaining({ code: 'disk-full', retryable: true });
const REPOSITORY = 'gitea/maria/gem';

it('a full disk is told of as one, and a fetch goes on where it was once there is room', async () => {
  const remote = await makeRepository(await temporaryFolder(), 'maria/gem');
  const sha = await remote.commit({ 'a.txt': '1' });
  const disk = await smallDisk(1024 ** 2);
  const mirrors = createGit({ folder: disk.folder, allowFile: true, fetchTimeoutMs: 30_000 });
  const fetch = () =>
    mirrors.fetchCommit({ url: `file://${remote.bare}` }, REPOSITORY, { ref: 'refs/heads/main', sha });
  const folder = join(mirrorPath(disk.folder, REPOSITORY), '..');
  await mkdir(folder, { recursive: true });
  await disk.fill(0);
  await expect(fetch()).rejects.toEqual(full);
  // Neither the lock nor what it is made of stays behind.
  expect(await readdir(folder)).toEqual([]);
  await disk.empty();
  expect(await fetch()).toMatchObject({ sha });
});

it('a full disk takes no part of a new mirror', async () => {
  const disk = await smallDisk(1024 ** 2);
  const mirror = join(disk.folder, 'owner/name.git');
  await ensureMirror(mirror);
  for (const name of ['config', 'HEAD']) await writeFile(join(mirror, name), '');
  await disk.fill(0);
  await expect(ensureMirror(mirror)).rejects.toEqual(full);
  expect((await readdir(mirror)).sort()).toEqual(['HEAD', 'config', 'objects', 'refs']);
  await disk.empty();
  await ensureMirror(mirror);
  expect(await git(mirror, 'rev-parse', '--is-bare-repository')).toBe('true');
});

it('a folder for mirrors that cannot be made is told of without its path', async () => {
  const folder = await temporaryFolder();
  await writeFile(join(folder, 'gitea'), 'no folder');
  const failed = { code: 'disk-error', message: 'The disk failed at the mirrors (ENOTDIR).' };
  await expect(ensureMirror(join(folder, 'gitea/name.git'))).rejects.toMatchObject(failed);
  const withLock = createMirrorLock({ staleMs: 1000 });
  const locked = withLock(join(folder, 'gitea/maria/name.git.lock'), undefined, () => Promise.resolve());
  await expect(locked).rejects.toMatchObject(failed);
});
