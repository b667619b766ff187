import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
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
  // Complete before it gets its name, so that nobody reads half of it.
  const ours = `${file}.${randomUUID()}`;
  try {
    await writeFile(ours, `${process.pid} ${processStart(process.pid)}\n`, { mode: 0o600 });
    await takeFile(folder, file, ours).finally(() => rm(ours, { force: true }));
  } catch (error) {
    throw error instanceof ImpGemError ? error : unusable(folder, error);
  }
  return () => rm(file, { force: true });
}

async function takeFile(folder: string, file: string, ours: string): Promise<void> {
  if (await linked(ours, file)) return;
  const starting = new ImpGemError('already-running', `Another impgem up is just starting on ${folder}`);
  const held = await readOwner(file);
  if (held === undefined) {
    // It has just stopped.
    if (await linked(ours, file)) return;
    throw starting;
  }
  if (isAlive(held))
    throw new ImpGemError(
      'already-running',
      `impgem up is running already on ${folder} (process ${held.pid}); stop it first, or set IMPGEM_DATA`,
    );
  // One alone may take over from this dead process; it may have died doing so, and then the next start can.
  const claim = `${file}.after-${nameOf(held).replaceAll(/[^\w-]/g, '')}`;
  const claimant = await readOwner(claim);
  if (claimant !== undefined && !isAlive(claimant)) await rm(claim, { force: true });
  if (!(await linked(ours, claim))) throw starting;
  try {
    const now = await readOwner(file);
    if (now === undefined || nameOf(now) !== nameOf(held)) throw starting;
    await rename(ours, file);
  } finally {
    await rm(claim, { force: true });
  }
}

/** False: there is a file of this name already. */
async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
    return false;
  }
}

interface Owner {
  pid: string;
  started: string;
}

async function readOwner(file: string): Promise<Owner | undefined> {
  const text = await readFile(file, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  const [pid = '', started = ''] = text.trim().split(' ');
  return { pid, started };
}

function nameOf({ pid, started }: Owner): string {
  return `${pid}-${started}`;
}

function isAlive({ pid, started }: Owner): boolean {
  return started !== '' && processStart(Number(pid)) === started;
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
