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
  const packs = join(call.gitDir, 'objects/pack');
  const before = new Set(await unfinishedPacks(packs));
  const fresh = async (): Promise<string[]> => (await unfinishedPacks(packs)).filter((file) => !before.has(file));
  try {
    await runBounded(call, limit, async () => sizeOf(await fresh()));
  } catch (error) {
    if (error instanceof ImpGemError && error.code === 'fetch-too-large')
      for (const file of await fresh()) await rm(file, { force: true });
    throw error;
  }
}

/** Runs git until what it brings, as `measure` finds it in bytes, is past the limit. ImpGemError `fetch-too-large`. */
export async function runBounded(call: GitCall, limit: number, measure: () => Promise<number>): Promise<void> {
  const tooLarge = new AbortController();
  const look = async (): Promise<void> => {
    if ((await measure()) > limit) tooLarge.abort();
  };
  // A look that fails (the folder is being made) is followed by another.
  const timer = setInterval(() => void look().catch(() => undefined), LOOK_MS);
  try {
    await runGit({ ...call, signal: AbortSignal.any([tooLarge.signal, ...(call.signal ? [call.signal] : [])]) });
  } catch (error) {
    throw tooLarge.signal.aborted ? tooLargeError(limit, error) : error;
  } finally {
    clearInterval(timer);
  }
}

export function tooLargeError(limit: number, cause: unknown): ImpGemError {
  return new ImpGemError('fetch-too-large', `The forge sent more than ${limit} bytes (IMPGEM_CLONE_LIMIT)`, { cause });
}

/** Of a pack that is being received, or was when its git was killed. */
export function isUnfinished(name: string): boolean {
  return name.startsWith('tmp_');
}

async function unfinishedPacks(packs: string): Promise<string[]> {
  const names = await readdir(packs).catch(() => []);
  return names.filter(isUnfinished).map((name) => join(packs, name));
}

/** Bytes of all of them together. */
export async function sizeOf(files: string[]): Promise<number> {
  let bytes = 0;
  for (const file of files)
    bytes += await stat(file).then(
      ({ size }) => size,
      () => 0, // Finished, and renamed.
    );
  return bytes;
}
