import { existsSync } from 'node:fs';
import { mkdir, open, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ImpGemError, InputError, messageOf, systemCode } from '../errors.ts';
import { processStart } from '../process-start.ts';

/**
 * Takes the data folder for this process: a second one is told that one is running. Survives a kill -9: a file left by a
 * process that is gone (its pid and start time tell) is taken over. Throws ImpGemError `already-running`, InputError
 * `data-folder` when the folder cannot be made or written to.
 */
export async function ownFolder(folder: string): Promise<() => Promise<void>> {
  await makeFolder(folder).catch((error: unknown) => {
    throw unusable(folder, error);
  });
  const file = join(folder, 'up.pid');
  for (let tries = 0; tries < 2; tries++) {
    try {
      const handle = await open(file, 'wx', 0o600);
      await handle.writeFile(`${process.pid} ${processStart(process.pid)}\n`);
      await handle.close();
      return () => rm(file, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw unusable(folder, error);
      const [pid = '', started = ''] = (await readFile(file, 'utf8').catch(() => '')).trim().split(' ');
      if (pid !== '' && processStart(Number(pid)) === started && started !== '')
        throw new ImpGemError(
          'already-running',
          `impgem up is running already on ${folder} (process ${pid}); stop it first, or set IMPGEM_DATA`,
        );
      await rm(file, { force: true });
    }
  }
  throw new ImpGemError('already-running', `Another impgem up is just starting on ${folder}`);
}

/** Not `recursive` at once: in a file system that refuses folders (/proc) Node tries that for ever. */
async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { mode: 0o700 });
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return;
    if (systemCode(error) !== 'ENOENT' || existsSync(dirname(folder))) throw error;
    await makeFolder(dirname(folder));
    await makeFolder(folder);
  }
}

function unusable(folder: string, error: unknown): InputError {
  const why = systemCode(error) || messageOf(error);
  return new InputError(
    'data-folder',
    `The data folder ${folder} cannot be used (${why}): set IMPGEM_DATA to another`,
    {
      cause: error,
    },
  );
}
