import type { GitCall } from './run-git.ts';
import { isObjectId } from '../forges/ref-name.ts';
import { InfrastructureError } from '../errors.ts';
import { mirrorRef } from './mirror.ts';
import { runGit } from './run-git.ts';

export interface Change {
  sha: string;
  /** What the ref pointed at before, for a push. */
  before?: string;
  /** Full ref whose common ancestor with `sha` is the base: the target of a pull request, the default branch for a new branch. */
  mergeBaseWith?: string;
}

/**
 * Paths that differ, from git itself: a forge lists as few as five commits of a push. Undefined when git cannot tell
 * (history lost by a forced push, a new branch without a base, too many): then everything counts as changed.
 */
export async function changedPaths(call: Omit<GitCall, 'args'>, change: Change): Promise<string[] | undefined> {
  const base = await baseOf(call, change);
  if (base === undefined || base === change.sha) return undefined;
  try {
    const args = ['diff-tree', '-r', '-z', '--no-renames', '--no-ext-diff', '--name-only', '--end-of-options'];
    const output = await runGit({ ...call, args: [...args, `${base}^{commit}`, `${change.sha}^{commit}`] });
    return output.toString('utf8').split('\0').slice(0, -1);
  } catch (error) {
    // The object is gone, or the list is beyond all measure: git cannot tell.
    if (error instanceof InfrastructureError && error.code === 'git-timeout') throw error;
    return undefined;
  }
}

async function baseOf(call: Omit<GitCall, 'args'>, change: Change): Promise<string | undefined> {
  if (change.mergeBaseWith === undefined) return isObjectId(change.before ?? '') ? change.before : undefined;
  try {
    const args = ['merge-base', '--end-of-options', mirrorRef(change.mergeBaseWith), `${change.sha}^{commit}`];
    return (await runGit({ ...call, args })).toString('latin1').trim();
  } catch (error) {
    if (error instanceof InfrastructureError && error.code === 'git-timeout') throw error;
    return undefined; // No such ref here, or no history in common.
  }
}
