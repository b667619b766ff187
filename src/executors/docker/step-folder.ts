/** The folders that one step and nobody else sees: what it hands on (STEP_PATHS.step), and its script and output (CONTROL). */
import { constants } from 'node:fs';
import { chmod, type FileHandle, mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { InfrastructureError } from '../../errors.ts';
import { HANDOVER_FILES } from '../shell.ts';

/** The step may run as any user, so the modes are open; the folders above are the worker's alone. */
export async function makeStepFolder(folder: string): Promise<void> {
  const files = [...HANDOVER_FILES.map((name) => join(handoverFolder(folder), name)), logPath(folder)];
  for (const inner of [handoverFolder(folder), controlFolder(folder)]) {
    await mkdir(inner, { recursive: true });
    await chmod(inner, 0o777);
  }
  for (const file of files) {
    await writeFile(file, '', { flag: 'wx' });
    await chmod(file, 0o666);
  }
}

export function handoverFolder(folder: string): string {
  return join(folder, 'handover');
}

export function controlFolder(folder: string): string {
  return join(folder, 'control');
}

export function logPath(folder: string): string {
  return join(controlFolder(folder), 'log');
}

export function scriptPath(folder: string): string {
  return join(controlFolder(folder), 'script');
}

// A step can put anything in the place of its files: a link, a pipe that blocks who opens it, a device.
const OPEN_HOSTILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** Opens a step's log; throws InfrastructureError `step-log-replaced` when the step put something else there. */
export async function openLog(folder: string): Promise<FileHandle> {
  const handle = await openRegular(logPath(folder));
  if (handle) return handle;
  throw new InfrastructureError('step-log-replaced', 'The output of a running step was replaced by that step itself');
}

async function openRegular(file: string): Promise<FileHandle | undefined> {
  let handle: FileHandle;
  try {
    handle = await open(file, OPEN_HOSTILE);
  } catch (error) {
    if (
      error instanceof Error &&
      'code' in error &&
      ['ENOENT', 'ELOOP', 'ENXIO', 'EACCES'].includes(String(error.code))
    )
      return undefined;
    throw error;
  }
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  return undefined;
}
