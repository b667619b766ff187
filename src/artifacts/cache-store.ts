import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { ImpGemError, InfrastructureError, InputError, messageOf } from '../errors.ts';
import type { CacheSpec } from '../runs/plan.ts';
import type { CacheRoots, CacheScope, CacheStore } from '../worker/ports.ts';
import { createBlobStore } from './blob-store.ts';
import { packCache, unpackCache } from './cache-archive.ts';
import { createCacheEntries, type StoredEntry } from './cache-entries.ts';
import { parseCachePath } from './cache-paths.ts';

const GIB = 1024 ** 3;
const LONGEST_KEY = 512;

/** Bytes on disk. */
export interface CacheLimits {
  /** One cache. */
  entry: number;
  /** All caches of a repository; the least recently used go first. */
  repository: number;
  /** All caches. */
  total: number;
}
export const CACHE_LIMITS: CacheLimits = { entry: 5 * GIB, repository: 10 * GIB, total: 50 * GIB };

/**
 * Caches below `folder`: `blobs/` holds their tars by content, `entries/` who may have them. Not compressed: what is
 * cached mostly is already, and a job waits for it. Errors: InputError `cache-key`, `path-invalid`; ImpGemError `quota`,
 * `cache-refused`; InfrastructureError `disk-full`, `disk-error`, `cache-damaged` (the cache is then gone).
 */
export function createCacheStore(folder: string, limits: CacheLimits = CACHE_LIMITS): CacheStore & CacheKeeper {
  const blobs = createBlobStore(join(folder, 'blobs'));
  const entries = createCacheEntries(join(folder, 'entries'));

  const candidates = async function* (scope: CacheScope, cache: CacheSpec): AsyncGenerator<StoredEntry> {
    for (const name of scope.read) {
      const shelf = { repository: scope.repository, scope: name, paths: cache.paths };
      const exact = await entries.find(shelf, cache.key);
      if (exact) yield exact;
      for (const prefix of cache.restoreKeys.filter((key) => key !== '')) {
        const newest = await entries.findNewest(shelf, prefix);
        if (newest) yield newest;
      }
    }
  };

  const restore: CacheStore['restore'] = async (scope, cache, roots) => {
    check(cache);
    for await (const entry of candidates(scope, cache)) {
      const handle = await blobs.open(entry.sha256);
      if (!handle) {
        // Evicted while another process was adding the same content again.
        await entries.remove(entry);
        continue;
      }
      const content = handle.createReadStream({ highWaterMark: 512 * 1024 });
      await unpackVerified(content, entry, roots).catch(async (error: unknown) => {
        if (error instanceof InfrastructureError && error.code === 'cache-damaged') await discard(entry);
        throw error;
      });
      await entries.touch(entry);
      return entry.key;
    }
    return undefined;
  };

  const save: CacheStore['save'] = async (scope, cache, roots) => {
    check(cache);
    if (scope.write === undefined) return undefined;
    const shelf = { repository: scope.repository, scope: scope.write, paths: cache.paths };
    if (await entries.find(shelf, cache.key)) return undefined;
    const { stream, content } = packCache(roots, cache.paths.map(parseCachePath));
    const blob = await blobs.add(stream, limits.entry);
    // A key is final: one that holds nothing would keep out all that come later. The blob goes with the next sweep.
    if (content.kept === 0) return content;
    const added = await entries.add(shelf, { key: cache.key, ...blob, createdAt: Date.now() });
    await evict();
    return added ? content : undefined;
  };

  const evict = async (): Promise<void> => {
    const all = (await entries.all()).sort((a, b) => a.usedAt - b.usedAt);
    const gone = new Set<StoredEntry>();
    for (const repository of new Set(all.map((entry) => entry.repository))) {
      const own = all.filter((entry) => entry.repository === repository);
      for (const entry of excess(own, limits.repository)) gone.add(entry);
    }
    for (const entry of excess(
      all.filter((one) => !gone.has(one)),
      limits.total,
    ))
      gone.add(entry);
    const kept = new Set(all.filter((entry) => !gone.has(entry)).map(({ sha256 }) => sha256));
    for (const entry of gone) {
      await entries.remove(entry);
      if (!kept.has(entry.sha256)) await blobs.remove(entry.sha256);
    }
  };

  const discard = async (entry: StoredEntry): Promise<void> => {
    await entries.remove(entry);
    await blobs.remove(entry.sha256);
  };

  const sweep: CacheKeeper['sweep'] = async (now) => {
    await evict();
    const named = new Set((await entries.all()).map(({ sha256 }) => sha256));
    return (await blobs.sweep(named, now)).reduce((sum, { size }) => sum + size, 0);
  };
  return { restore, save, sweep };
}

export interface CacheKeeper {
  /** Evicts past the limits, and removes what a crash left; gives the bytes of the latter. */
  sweep(now?: number): Promise<number>;
}

function check({ key, paths }: CacheSpec): void {
  if (key === '' || key.length > LONGEST_KEY) {
    throw new InputError('cache-key', `A cache key has 1 to ${LONGEST_KEY} characters.`);
  }
  paths.forEach(parseCachePath);
}

/** The first of the list (least recently used first) that must go for the rest to fit; contents shared count once. */
function excess(list: StoredEntry[], limit: number): StoredEntry[] {
  const seen = new Set<string>();
  let room = limit;
  const newestFirst = [...list].reverse();
  const over = newestFirst.findIndex(({ sha256, size }) => {
    if (!seen.has(sha256)) room -= size;
    seen.add(sha256);
    return room < 0;
  });
  return over === -1 ? [] : newestFirst.slice(over);
}

async function unpackVerified(content: AsyncIterable<Buffer>, { sha256 }: StoredEntry, roots: CacheRoots) {
  const hash = createHash('sha256');
  const hashed = async function* () {
    for await (const block of content) {
      hash.update(block);
      yield block;
    }
    if (hash.digest('hex') !== sha256) throw new Error('its content is not what was stored');
  };
  try {
    await unpackCache(hashed(), roots);
  } catch (error) {
    if (error instanceof ImpGemError) throw error;
    const message = `The cache is damaged and was removed: ${messageOf(error)}.`;
    throw new InfrastructureError('cache-damaged', message, { cause: error, retryable: true });
  }
}
