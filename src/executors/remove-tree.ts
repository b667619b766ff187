/** Removes a folder in which a step may have left anything, with any permissions. */
import { execFile } from 'node:child_process';
import { chmodSync, lstatSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { InfrastructureError, messageOf, systemCode } from '../errors.ts';

/** Links are removed, never followed. `dead`: nothing runs any more that could change it. Error `folder-stays`. */
export async function removeTree(folder: string, { dead = false } = {}): Promise<void> {
  if (removeFew(folder, dead)) return;
  try {
    await run('rm', '-rf', '--', folder);
  } catch (error) {
    // Root needs no permission.
    if (process.geteuid?.() === 0) throw stays(folder, error);
    // What is not ours to change `rm` may not be able to remove either, and says so.
    await run('chmod', '-R', 'u+rwX', '--', folder).catch(() => undefined);
    await run('rm', '-rf', '--', folder).catch((again: unknown) => {
      throw stays(folder, again);
    });
  }
}

/** A process costs more than to remove so many, and all else waits while Node forks. */
const FEW = 64;

/** The usual few files, at once. False: there is more. */
function removeFew(folder: string, dead: boolean): boolean {
  try {
    chmodSync(folder, 0o700);
    const entries = listFew(folder, dead);
    if (entries === undefined) return false;
    for (const { path, isFolder } of entries.toReversed()) {
      if (isFolder) rmdirSync(path);
      else unlinkSync(path);
    }
    rmdirSync(folder);
    return true;
  } catch (error) {
    return systemCode(error) === 'ENOENT' && lstatSync(folder, { throwIfNoEntry: false }) === undefined;
  }
}

/** All below a folder, parents first; undefined: more than FEW, or folders that a process may turn into links meanwhile. */
function listFew(folder: string, dead: boolean): { path: string; isFolder: boolean }[] | undefined {
  const found: { path: string; isFolder: boolean }[] = [];
  const folders = [folder];
  for (let next = folders.pop(); next !== undefined; next = folders.pop()) {
    for (const entry of readdirSync(next, { withFileTypes: true })) {
      const path = join(next, entry.name);
      const isFolder = entry.isDirectory();
      if (found.push({ path, isFolder }) > FEW || (isFolder && !dead)) return undefined;
      if (isFolder) folders.push(path);
    }
  }
  return found;
}

/**
 * Programs, for they go down by descriptors: a path may be longer than the kernel takes in one piece (a step makes its
 * folders one by one), and a folder on it may have become a link since it was looked at.
 */
async function run(program: string, ...args: string[]): Promise<void> {
  await promisify(execFile)(program, args);
}

function stays(folder: string, error: unknown): InfrastructureError {
  // After the command, what it said.
  const [, why = ''] = messageOf(error).split('\n');
  return new InfrastructureError('folder-stays', `The folder ${folder} could not be removed: ${why.slice(0, 300)}`, {
    cause: error,
  });
}
