import { mkdir, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ImpGemError } from '../errors.ts';

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
      await handle.writeFile(`${process.pid} ${(await startTime(process.pid)) ?? ''}\n`);
      await handle.close();
      return () => rm(file, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      const [pid = '', started = ''] = (await readFile(file, 'utf8').catch(() => '')).trim().split(' ');
      if (pid !== '' && (await startTime(Number(pid))) === started && started !== '')
        throw new ImpGemError(
          'already-running',
          `impgem up is running already on ${folder} (process ${pid}); stop it first, or set IMPGEM_DATA`,
        );
      await rm(file, { force: true });
    }
  }
  throw new ImpGemError('already-running', `Another impgem up is just starting on ${folder}`);
}

/** Clock ticks after boot at which the process started: tells a reused pid apart. Undefined: no such process. */
async function startTime(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
}
