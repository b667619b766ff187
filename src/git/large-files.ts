import { ImpGemError, InfrastructureError } from '../errors.ts';
import { type GitCall, runGit } from './run-git.ts';

/**
 * Replaces the pointers of a fresh workspace by the files of Git LFS. Always from the forge's own address: the one in
 * `.lfsconfig` could lead inside our network. ImpGemError `lfs-missing` where git-lfs is not installed, `tree-malformed`.
 */
export async function fillLargeFiles(call: Omit<GitCall, 'args'>): Promise<void> {
  await checkTree(call);
  const settings: [string, string][] = [
    ['lfs.url', `${call.source?.url ?? ''}/info/lfs`],
    // Without its filter, git-lfs fetches and then leaves the pointers where they are.
    ['filter.lfs.clean', 'git-lfs clean -- %f'],
    ['filter.lfs.smudge', 'git-lfs smudge -- %f'],
    ['filter.lfs.process', 'git-lfs filter-process'],
  ];
  try {
    await runGit({ ...call, settings, args: ['lfs', 'pull'] });
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
