import { randomUUID } from 'node:crypto';
import { link, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { InfrastructureError, diskError, systemCode } from '../errors.ts';
import { processStart } from '../process-start.ts';
import { MIRRORS, makeFolder } from './mirror.ts';
import { cancelled } from './run-git.ts';

const POLL_MS = 20;

/**
 * One holder at a time per lock file, in this process and in others. A holder that was killed is recognised by its pid
 * and start time and loses the lock at once; one on another machine by the age of the file. Should two ever hold it
 * (machines whose clocks differ), git's own locks still keep the mirror whole: ours only saves double work.
 */
export function createMirrorLock(options: { staleMs: number }) {
  const queues = new Map<string, Promise<unknown>>();
  const me = `${process.pid} ${processStart(process.pid)} ${hostname()}`;

  /** Gives whether another had it. */
  async function acquire(file: string, signal: AbortSignal | undefined): Promise<boolean> {
    let waited = false;
    const own = `${file}.${randomUUID()}`;
    await makeFolder(dirname(file));
    try {
      await writeFile(own, me);
      const deadline = performance.now() + 2 * options.staleMs;
      while (!(await taken(own, file))) {
        waited = true;
        if (signal?.aborted) throw cancelled();
        if (await isStale(file, options.staleMs)) await rm(file, { force: true });
        else if (performance.now() > deadline)
          throw new InfrastructureError('git-busy', `The mirror lock ${file} was not given back in time`, {
            retryable: true,
          });
        else await delay(POLL_MS);
      }
      return waited;
    } catch (error) {
      throw diskError(MIRRORS, error);
    } finally {
      await rm(own, { force: true });
    }
  }

  /**
   * Runs `task` while no one else runs one for the same file; `waited` says whether someone did just before. ImpGemError
   * `git-cancelled` as soon as the signal aborts while others are before it; from then on it is the task's to heed.
   * InfrastructureError `git-busy`, `disk-full`, `disk-error`.
   */
  return async function withLock<T>(
    file: string,
    signal: AbortSignal | undefined,
    task: (waited: boolean) => Promise<T>,
  ): Promise<T> {
    const queued = queues.has(file);
    const before = queues.get(file) ?? Promise.resolve();
    const turn = before.then(async () => {
      if (signal?.aborted) throw cancelled();
      const waited = await acquire(file, signal);
      try {
        return await task(queued || waited);
      } finally {
        await rm(file, { force: true });
      }
    });
    const settled = turn
      .catch(() => undefined)
      .then(() => {
        if (queues.get(file) === settled) queues.delete(file);
      });
    queues.set(file, settled);
    await untilOver(before, signal);
    return turn;
  };
}

/** The turn of one who gave up comes all the same, and does nothing: those behind wait for it. */
async function untilOver(before: Promise<unknown>, signal: AbortSignal | undefined): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const giveUp = () => reject(cancelled());
    if (signal?.aborted) giveUp();
    signal?.addEventListener('abort', giveUp);
    void before.then(() => {
      signal?.removeEventListener('abort', giveUp);
      resolve();
    });
  });
}

/** A hard link is made at once or not at all, and the file has its content from the first moment on. */
async function taken(own: string, file: string): Promise<boolean> {
  try {
    await link(own, file);
    return true;
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false;
    throw diskError(MIRRORS, error);
  }
}

async function isStale(file: string, staleMs: number): Promise<boolean> {
  try {
    const [pid = '', started = '', host = ''] = (await readFile(file, 'utf8')).split(' ');
    if (host === hostname() && processStart(Number(pid)) !== started) return true;
    return Date.now() - (await stat(file)).mtimeMs > staleMs;
  } catch {
    return false; // Given back meanwhile.
  }
}
