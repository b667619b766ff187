import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { InfrastructureError } from '../errors.ts';
import { isUnfinished } from './bounded-fetch.ts';
import { type GitCall, runGit } from './run-git.ts';

/** Packs from which on lookups get slow; every fetch brings one. */
const MANY_PACKS = 50;
/** Age of a pack under construction that nobody works on any more (its git was killed). */
const ABANDONED_MS = 24 * 3_600_000;

/**
 * Joins the small packs of a mirror when there are many. Call it with the mirror's lock held. No object is ever dropped,
 * also none that no ref reaches any more: running workspaces borrow them, and a git that finds a pack gone looks for the
 * object in the new one.
 */
export async function packMirror(call: Omit<GitCall, 'args'>): Promise<void> {
  const folder = join(call.gitDir, 'objects/pack');
  const names = await readdir(folder);
  await Promise.all(names.filter(isUnfinished).map((name) => removeAbandoned(join(folder, name))));
  if (names.filter((name) => name.endsWith('.pack')).length < MANY_PACKS) return;
  try {
    await runGit({ ...call, args: ['repack', '--geometric=2', '-d', '--no-write-bitmap-index'] });
  } catch (error) {
    // The mirror is as good as before, and the next fetch tries again.
    if (!(error instanceof InfrastructureError)) throw error;
  }
}

async function removeAbandoned(file: string): Promise<void> {
  const { mtimeMs } = await stat(file);
  if (Date.now() - mtimeMs > ABANDONED_MS) await rm(file, { force: true });
}
