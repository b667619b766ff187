/** Where bubblewrap is on this machine. */
import { execFile } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';
import { promisify } from 'node:util';
import { InfrastructureError, messageOf } from '../../errors.ts';

/** Path of `bwrap`, or undefined where it is not installed. */
export function findBubblewrap(): string | undefined {
  return findProgram('bwrap');
}

export function findProgram(name: string): string | undefined {
  const folders = (process.env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin').split(delimiter).filter(isAbsolute);
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** Path of `bwrap`; error `no-bubblewrap` that says what to do. */
export function requireBubblewrap(): string {
  const path = findBubblewrap();
  if (path === undefined) {
    throw new InfrastructureError(
      'no-bubblewrap',
      'The sandbox executor needs bubblewrap: install it (apt-get install bubblewrap) or set IMPGEM_EXECUTOR=docker.',
    );
  }
  return path;
}

/** `0.8.0`, or why it does not run. */
export async function bubblewrapVersion(path: string): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(path, ['--version'], { timeout: 10_000 });
    return stdout.trim().replace(/^bubblewrap /, '');
  } catch (error) {
    return `does not run: ${messageOf(error)}`;
  }
}
