import { mkdir, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ImpGemError } from '../errors.ts';
import { processStart } from '../process-start.ts';

/**
 * Takes the data folder for this process: a second one is told that one is running. Survives a kill -9: a file left by a
 * process that is gone (its pid and start time tell) is taken over. Throws ImpGemError `already-running`.
 */
export async function ownFolder(folder: string): Promise<() => Promise<void>> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, 'up.pid');
  for (let tries = 0; tries < 2; tries++) {
    try {
      const handle = await open(file, 'wx', 0o600);
      await handle.writeFile(`${process.pid} ${processStart(process.pid)}\n`);
      await handle.close();
      return () => rm(file, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
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
