import { createHash } from 'node:crypto';
import type { Dir, Dirent } from 'node:fs';
import { lstat, realpath } from 'node:fs/promises';
import { ImpGemError } from '../errors.ts';
import { compileGlobs, type GlobSet } from './glob.ts';
import { openPlainFile, openPlainFolder, whyRefused } from './open-plain-file.ts';
import { pathFault } from './safe-path.ts';

export interface CollectLimits {
  /** Files taken and refused. */
  files: number;
  /** Sum of sizes. */
  bytes: number;
  /** Entries of folders looked at. */
  visited: number;
  /** Time for all of it. */
  ms: number;
}
export const COLLECT_LIMITS: CollectLimits = { files: 50_000, bytes: 10 * 1024 ** 3, visited: 1_000_000, ms: 60_000 };

export interface CollectedFile {
  /** As matched: relative to the root, `/`-separated. */
  path: string;
  /** Absolute host path free of links, for `openPlainFile`. */
  source: string;
  size: number;
}

export interface Collected {
  /** By path. */
  files: CollectedFile[];
  /** What matched but is not taken, for the log. */
  refused: { path: string; why: string }[];
}

/**
 * Finds the files below `root` that the globs name (see glob.ts; `!` takes away, a folder means all in it). Nothing
 * outside of root is ever read: a link is taken as the file it leads to when that is inside, and refused otherwise;
 * links to folders are never entered. InputError `glob-invalid`; ImpGemError `artifact-quota` past the limits.
 */
export async function collectFiles(
  root: string,
  globs: string[],
  limits: CollectLimits = COLLECT_LIMITS,
): Promise<Collected> {
  const set = compileGlobs(globs);
  const base = await realpath(root);
  const found: Collected = { files: [], refused: [] };
  const deadline = Date.now() + limits.ms;
  let visited = 0;
  let bytes = 0;
  const countFiles = (): void => {
    if (found.files.length + found.refused.length > limits.files) quota(`more than ${limits.files} files`);
  };
  const refuse = (one: Collected['refused'][number]): void => {
    found.refused.push(one);
    countFiles();
  };
  const folders = [''];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    const entries = await listFolder(base, folder);
    if ('why' in entries) {
      refuse(entries);
      continue;
    }
    for await (const entry of entries) {
      if (++visited > limits.visited) quota(`more than ${limits.visited} files and folders`);
      if (Date.now() > deadline) quota(`more than can be looked through in ${limits.ms} ms`);
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory()) {
        if (set.enters(path)) folders.push(path);
        continue;
      }
      const file = await examine(base, path, entry, set);
      if (!file) continue;
      if ('why' in file) refuse(file);
      else {
        found.files.push(file);
        countFiles();
        bytes += file.size;
      }
      if (bytes > limits.bytes) quota(`more than ${limits.bytes} bytes`);
    }
  }
  found.files.sort(byPath);
  found.refused.sort(byPath);
  return found;
}

/** One below the root that cannot be listed is refused as a file would be: a step may be removing it at this moment. */
async function listFolder(base: string, folder: string): Promise<Dir | { path: string; why: string }> {
  if (folder === '') return openPlainFolder(base);
  const fault = pathFault(folder);
  if (fault) return { path: folder, why: fault };
  return openPlainFolder(`${base}/${folder}`).catch((error: unknown) => ({ path: folder, why: whyRefused(error) }));
}

/** SHA-256 (hex) over paths and contents of what the globs name, in the order of the paths; '' when that is nothing. */
export async function hashFiles(root: string, globs: string[]): Promise<string> {
  const { files } = await collectFiles(root, globs);
  if (files.length === 0) return '';
  const total = createHash('sha256');
  for (const { path, source } of files) {
    const handle = await openPlainFile(source);
    const hash = createHash('sha256');
    // Closes the handle at its end, also when reading fails.
    for await (const block of handle.createReadStream()) hash.update(block as Buffer);
    total.update(`${path}\0`).update(hash.digest());
  }
  return total.digest('hex');
}

async function examine(
  base: string,
  path: string,
  entry: Dirent,
  set: GlobSet,
): Promise<CollectedFile | { path: string; why: string } | undefined> {
  const link = entry.isSymbolicLink();
  if (!set.matches(path) && !(link && set.names(path))) return undefined;
  const fault = pathFault(path);
  if (fault) return { path, why: fault };
  if (!link && !entry.isFile()) return { path, why: 'it is not a regular file' };
  try {
    const source = link ? await realpath(`${base}/${path}`) : `${base}/${path}`;
    if (!source.startsWith(`${base}/`)) return { path, why: 'it is a link that leaves the workspace' };
    const { size, isFile } = await describe(source);
    return isFile ? { path, source, size } : { path, why: 'it is a link to something that is not a file' };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    return { path, why: link ? `it is a link that leads nowhere (${code})` : `it cannot be read (${code})` };
  }
}

async function describe(path: string): Promise<{ size: number; isFile: boolean }> {
  const status = await lstat(path);
  return { size: status.size, isFile: status.isFile() };
}

function byPath(a: { path: string }, b: { path: string }): number {
  return a.path < b.path ? -1 : a.path > b.path ? 1 : 0;
}

function quota(what: string): never {
  throw new ImpGemError('artifact-quota', `The patterns name ${what}: name less.`);
}
