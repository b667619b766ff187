import { randomUUID } from 'node:crypto';
import { link, mkdir, open, readFile, readdir, rm, stat, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { diskError, systemCode } from '../errors.ts';
import { ifMissing } from './if-missing.ts';
import { hashName } from './cache-paths.ts';
import { mapParallel } from './map-parallel.ts';

const READ_AT_ONCE = 16;

export interface CacheEntry {
  key: string;
  sha256: string;
  size: number;
  /** ms since 1970. */
  createdAt: number;
}

/** An entry with its place; the file's time is when it was last of use. */
export interface StoredEntry extends CacheEntry {
  file: string;
  /** Folder name of the repository, to share the room fairly. */
  repository: string;
  usedAt: number;
}

/** Whose caches: only entries of the same repository, scope and list of paths ever meet. */
export interface Shelf {
  repository: string;
  scope: string;
  paths: string[];
}

export interface CacheEntries {
  find(shelf: Shelf, key: string): Promise<StoredEntry | undefined>;
  /** The newest whose key starts with `prefix`. */
  findNewest(shelf: Shelf, prefix: string): Promise<StoredEntry | undefined>;
  /** False: the key is taken, and stays as it is. */
  add(shelf: Shelf, entry: CacheEntry): Promise<boolean>;
  all(): Promise<StoredEntry[]>;
  touch(entry: StoredEntry): Promise<void>;
  remove(entry: StoredEntry): Promise<void>;
}

/** One small file a cache, at `<repository>/<scope>/<paths>/<key>.json`; every name is a hash. */
export function createCacheEntries(folder: string): CacheEntries {
  const shelfFolder = ({ repository, scope, paths }: Shelf) =>
    join(folder, hashName(repository), hashName(scope), hashName(JSON.stringify([...paths].sort())));
  const place = (shelf: Shelf, key: string) => join(shelfFolder(shelf), `${hashName(key)}.json`);

  const read = async (file: string): Promise<StoredEntry | undefined> => {
    try {
      const text = await ifMissing(undefined, readFile(file, 'utf8'));
      const status = await ifMissing(undefined, stat(file));
      if (text === undefined || !status) return undefined;
      const entry = JSON.parse(text) as CacheEntry;
      const repository = file.slice(folder.length + 1).split('/', 1)[0] ?? '';
      return { ...entry, file, repository, usedAt: status.mtimeMs };
    } catch (error) {
      throw diskError('the list of caches', error);
    }
  };
  const readAll = async (parent: string): Promise<StoredEntry[]> => {
    const names = await ifMissing([], readdir(parent, { recursive: true }));
    const files = names.filter((name) => name.endsWith('.json')).map((name) => join(parent, name));
    return (await mapParallel(files, READ_AT_ONCE, read)).filter((entry) => entry !== undefined);
  };

  return {
    find: (shelf, key) => read(place(shelf, key)),
    findNewest: async (shelf, prefix) => {
      const matching = (await readAll(shelfFolder(shelf))).filter(({ key }) => key.startsWith(prefix));
      return matching.sort((a, b) => b.createdAt - a.createdAt)[0];
    },
    add: (shelf, entry) => writeNew(place(shelf, entry.key), JSON.stringify(entry)),
    all: () => readAll(folder),
    touch: async ({ file }) => {
      const now = new Date();
      // Evicted meanwhile by another process: what was unpacked stays good.
      await ifMissing(undefined, utimes(file, now, now));
    },
    remove: ({ file }) => rm(file, { force: true }),
  };
}

/** Whole or not at all, and never over another: `link` fails where `rename` would replace. */
async function writeNew(path: string, text: string): Promise<boolean> {
  const half = `${path}.${randomUUID()}`;
  try {
    await mkdir(dirname(path), { recursive: true });
    const file = await open(half, 'wx', 0o640);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await link(half, path);
    return true;
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false;
    throw diskError('the list of caches', error);
  } finally {
    await rm(half, { force: true });
  }
}
