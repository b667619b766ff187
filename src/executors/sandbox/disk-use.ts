import { execFile } from 'node:child_process';
import { InfrastructureError } from '../../errors.ts';

/**
 * Bytes that the folders take on their disk. What goes meanwhile, or cannot be read, is not counted; nor is what is
 * deleted and still open.
 */
export async function diskUse(folders: string[], signal: AbortSignal): Promise<number> {
  const options = { signal, maxBuffer: 64 * 1024 * 1024, env: { PATH: process.env['PATH'], LC_ALL: 'C' } };
  const text = await new Promise<string>((resolve) => {
    execFile('du', ['-skx', '--', ...folders], options, (_, stdout) => resolve(stdout));
  });
  const sums = [...text.matchAll(/^(\d+)\t/gm)].map(([, size]) => Number(size) * 1024);
  if (sums.length < folders.length && !signal.aborted)
    throw new InfrastructureError('disk-use-unknown', 'The files of a job could not be measured with `du`');
  return sums.reduce((all, one) => all + one, 0);
}
