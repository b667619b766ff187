/** Removes a folder in which a step may have left anything, with any permissions. */
import { execFile } from 'node:child_process';
import { chmodSync, readdirSync, rmSync } from 'node:fs';
import { promisify } from 'node:util';
import { InfrastructureError, messageOf, systemCode } from '../errors.ts';

/** Links are removed, never followed. Error `folder-stays`. */
export async function removeTree(folder: string): Promise<void> {
  if (removeFew(folder)) return;
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

/** The usual few files of a step, at once. False: there is more. */
function removeFew(folder: string): boolean {
  try {
    chmodSync(folder, 0o700);
    const entries = readdirSync(folder, { withFileTypes: true });
    if (entries.length >= 10 || entries.some((entry) => entry.isDirectory())) return false;
    rmSync(folder, { recursive: true });
    return true;
  } catch (error) {
    return systemCode(error) === 'ENOENT';
  }
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
