import { constants, type Dir } from 'node:fs';
import { lstat, open, opendir, readlink, type FileHandle } from 'node:fs/promises';
import { ImpGemError, messageOf } from '../errors.ts';

const FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/**
 * Opens a regular file in a tree that a stranger may be changing at this very moment. `path` is absolute and free of
 * links; the kernel is asked what was really opened, so that a folder swapped for a link in between is seen.
 * ImpGemError `file-refused` when it is anything but that file. The caller closes the handle.
 */
export async function openPlainFile(path: string): Promise<FileHandle> {
  try {
    // Opening a device may do something; a look before does not.
    if (!(await lstat(path)).isFile()) throw new ImpGemError('file-refused', 'it is not a regular file');
    const handle = await open(path, FLAGS);
    try {
      if (!(await handle.stat()).isFile()) throw new ImpGemError('file-refused', 'it is not a regular file');
      if ((await readlink(`/proc/self/fd/${handle.fd}`)) !== path) {
        throw new ImpGemError('file-refused', 'its path goes through a link');
      }
      return handle;
    } catch (error) {
      await handle.close();
      throw error;
    }
  } catch (error) {
    throw new ImpGemError('file-refused', `File ${JSON.stringify(path)} was not read: ${reason(error)}.`, {
      cause: error,
    });
  }
}

/**
 * Opens a folder of such a tree to list it: what is listed is the folder at this path, not what a link in its place (or in
 * the place of one above it) leads to. ImpGemError `file-refused` otherwise.
 */
export async function openPlainFolder(path: string): Promise<Dir> {
  try {
    const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_DIRECTORY);
    try {
      const opened = `/proc/self/fd/${handle.fd}`;
      if ((await readlink(opened)) !== path) throw new ImpGemError('file-refused', 'its path goes through a link');
      return await opendir(opened);
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw new ImpGemError('file-refused', `Folder ${JSON.stringify(path)} was not read: ${reason(error)}.`, {
      cause: error,
    });
  }
}

/** Why, without the path, of a `file-refused` that is thrown here; any other error is thrown again. */
export function whyRefused(error: unknown): string {
  if (error instanceof ImpGemError && error.code === 'file-refused') return reason(error.cause);
  throw error;
}

function reason(error: unknown): string {
  if (error instanceof ImpGemError) return error.message;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOENT') return 'it is gone';
  if (code === 'ELOOP') return 'it is a link';
  return typeof code === 'string' ? `the disk says ${code}` : messageOf(error);
}
