import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ImpGemError } from '../errors.ts';
import { type GitCall, runGit } from './run-git.ts';

const LOOK_MS = 500;

/**
 * A `git fetch` that brings at most about `limit` bytes: git has a limit for what is pushed to it, and none for what it
 * fetches. The caller holds the mirror's lock, so that a pack under construction is this fetch's. ImpGemError
 * `fetch-too-large`.
 */
export async function runBoundedFetch(call: GitCall, limit: number): Promise<void> {
  const tooLarge = new AbortController();
  const packs = join(call.gitDir, 'objects/pack');
  const before = new Set(await unfinishedPacks(packs));
  const fresh = async (): Promise<string[]> => (await unfinishedPacks(packs)).filter((file) => !before.has(file));
  const look = async (): Promise<void> => {
    for (const file of await fresh()) if ((await sizeOf(file)) > limit) tooLarge.abort();
  };
  // A look that fails (the folder is being made) is followed by another.
  const timer = setInterval(() => void look().catch(() => undefined), LOOK_MS);
  try {
    await runGit({ ...call, signal: AbortSignal.any([tooLarge.signal, ...(call.signal ? [call.signal] : [])]) });
  } catch (error) {
    if (!tooLarge.signal.aborted) throw error;
    for (const file of await fresh()) await rm(file, { force: true });
    throw tooLargeError(limit, error);
  } finally {
    clearInterval(timer);
  }
}

export function tooLargeError(limit: number, cause: unknown): ImpGemError {
  return new ImpGemError('fetch-too-large', `The forge sent more than ${limit} bytes (IMPGEM_CLONE_LIMIT)`, { cause });
}

/** Packs that are being received, or were when their git was killed. */
export async function unfinishedPacks(packs: string): Promise<string[]> {
  const names = await readdir(packs).catch(() => []);
  return names.filter((name) => name.startsWith('tmp_')).map((name) => join(packs, name));
}

async function sizeOf(file: string): Promise<number> {
  return stat(file).then(
    ({ size }) => size,
    () => 0, // Finished, and renamed.
  );
}
