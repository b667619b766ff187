import { lstat, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImpGemError, InfrastructureError } from '../errors.ts';
import { runBounded, sizeOf } from './bounded-fetch.ts';
import { type GitCall, runGit } from './run-git.ts';

/**
 * Replaces the pointers of a fresh workspace by the files of Git LFS. Always from the forge's own address: the one in
 * `.lfsconfig` could lead inside our network. ImpGemError `lfs-missing` where git-lfs is not installed,
 * `lfs-config-refused`, `tree-malformed`, `fetch-too-large`.
 */
export async function fillLargeFiles(call: Omit<GitCall, 'args'>, maxBytes: number): Promise<void> {
  await checkTree(call);
  await checkConfig(join(call.workTree ?? '', '.lfsconfig'));
  const settings: [string, string][] = [
    ['lfs.url', `${call.source?.url ?? ''}/info/lfs`],
    // Without its filter, git-lfs fetches and then leaves the pointers where they are.
    ['filter.lfs.clean', 'git-lfs clean -- %f'],
    ['filter.lfs.smudge', 'git-lfs smudge -- %f'],
    ['filter.lfs.process', 'git-lfs filter-process'],
  ];
  try {
    await runBounded({ ...call, settings, args: ['lfs', 'pull'] }, maxBytes, () => sizeOfAll(join(call.gitDir, 'lfs')));
  } catch (error) {
    if (error instanceof InfrastructureError && /'lfs' is not a git command/.test(String(error.cause)))
      throw new ImpGemError(
        'lfs-missing',
        'The pipeline asks for `clone: { lfs: true }`, and this worker has no git-lfs',
        {
          cause: error,
        },
      );
    throw error;
  }
}

async function sizeOfAll(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return sizeOf(entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name)));
}

/** git-lfs follows an `[include]` in it, and a link, to any file of the host, and tells what is wrong in there. */
async function checkConfig(file: string): Promise<void> {
  const stats = await lstat(file).catch(() => undefined);
  if (!stats) return;
  if (stats.isFile() && !/\[include/i.test(await readFile(file, 'latin1'))) return;
  throw new ImpGemError('lfs-config-refused', 'The .lfsconfig of the commit must be a file that includes no other');
}

/**
 * git-lfs writes where the tree says, and a stranger's tree can hold `a` as a link and as a folder: what is not also in
 * the index was not checked out, and would be written through that link.
 */
async function checkTree(call: Omit<GitCall, 'args'>): Promise<void> {
  const list = async (args: string[]) =>
    (await runGit({ ...call, args })).toString('latin1').split('\0').sort().join('\0');
  const [tree, index] = await Promise.all([
    list(['ls-tree', '-r', '-z', '--name-only', '--full-tree', 'HEAD']),
    list(['ls-files', '-z']),
  ]);
  if (tree !== index)
    throw new ImpGemError('tree-malformed', 'The commit names a path twice, as a file and as a folder');
}
