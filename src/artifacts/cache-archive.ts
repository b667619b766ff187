/** The two halves of a cache's tar: made from, and unpacked into, folders that belong to a stranger. */
import { lstat, opendir, readlink, realpath } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { extract, pack as createPack, type Header, type Pack } from 'tar-stream';
import { ImpGemError, systemCode } from '../errors.ts';
import type { CacheRoots } from '../worker/ports.ts';
import { CACHE_ROOTS, linkStaysInside, type CachePath, type CacheRoot } from './cache-paths.ts';
import { openPlainFile } from './open-plain-file.ts';
import { checkPath, pathFault } from './safe-path.ts';
import { openSafeTree, type SafeTree } from './safe-tree.ts';

const MOST_ENTRIES = 1_000_000;
const EMPTY = Buffer.alloc(0);
const BLOCK = 512 * 1024;

/**
 * A tar of the paths that exist, made while it is read. Links that lead out of their root, sockets, pipes and devices
 * are left out: nothing could be restored from them.
 */
export async function* packCache(roots: CacheRoots, paths: CachePath[]): AsyncGenerator<Buffer> {
  const pack = createPack();
  const fill = async () => {
    for (const { root, path } of paths) await packTree(pack, await realpath(roots[root]), root, path);
    pack.finalize();
  };
  // Started by the first read: a stream that fails while nobody listens would leave a later reader waiting for ever.
  fill().catch((error: unknown) => pack.destroy(error instanceof Error ? error : new Error(String(error))));
  yield* pack as AsyncIterable<Buffer>;
}

/** Whether there is anything to keep. */
export async function cacheExists(roots: CacheRoots, paths: CachePath[]): Promise<boolean> {
  const found = await Promise.all(paths.map(({ root, path }) => lstatIfAny(`${roots[root]}/${path}`)));
  return found.some((status) => status !== undefined);
}

async function packTree(pack: Pack, base: string, root: CacheRoot, top: string): Promise<void> {
  const parent = dirname(`${base}/${top}`);
  if ((await realpath(parent).catch(() => parent)) !== parent) {
    throw new ImpGemError('cache-refused', `Cache path ${JSON.stringify(top)} goes through a link.`);
  }
  let entries = 0;
  const queue = [top];
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    const status = await lstatIfAny(`${base}/${path}`);
    if (!status || pathFault(path)) continue;
    if (++entries > MOST_ENTRIES) throw new ImpGemError('quota', `The cache has more than ${MOST_ENTRIES} files.`);
    const header = { name: `${root}/${path}`, mode: status.mode & 0o777, mtime: status.mtime };
    if (status.isDirectory()) {
      await addEntry(pack, { ...header, type: 'directory' });
      for await (const { name } of await opendir(`${base}/${path}`)) queue.push(`${path}/${name}`);
    } else if (status.isSymbolicLink()) {
      const linkname = await readlink(`${base}/${path}`);
      if (linkStaysInside(path.split('/'), linkname)) await addEntry(pack, { ...header, type: 'symlink', linkname });
    } else if (status.isFile()) await addFile(pack, header, `${base}/${path}`);
  }
}

type EntryHeader = Partial<Header> & Pick<Header, 'name'>;

async function addFile(pack: Pack, header: EntryHeader, path: string): Promise<void> {
  const handle = await openPlainFile(path);
  const { size } = await handle.stat();
  if (size > BLOCK) {
    const stream = handle.createReadStream({ end: size - 1, highWaterMark: BLOCK });
    await pipeline(stream, pack.entry({ ...header, size }));
    return;
  }
  // Most files of a cache are small, and a pair of streams each would cost more than the file.
  const body = Buffer.alloc(size);
  const { bytesRead } = await handle.read(body, 0, size, 0).finally(() => handle.close());
  await addEntry(pack, header, body.subarray(0, bytesRead));
}

function addEntry(pack: Pack, header: EntryHeader, body: Buffer = EMPTY): Promise<void> {
  return new Promise((resolve, reject) => {
    pack.entry(header, body, (error) => (error ? reject(error) : resolve()));
  });
}

async function lstatIfAny(path: string) {
  return lstat(path).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined;
    throw error;
  });
}

/** Unpacks into the roots. Nothing is written outside; ImpGemError `cache-refused` for an entry that would be. */
export async function unpackCache(content: AsyncIterable<Buffer>, roots: CacheRoots): Promise<void> {
  const trees = new Map<string, SafeTree>();
  const untar = extract();
  const unpack = async () => {
    let entries = 0;
    for await (const entry of untar) {
      if (++entries > MOST_ENTRIES) throw new ImpGemError('quota', `The cache has more than ${MOST_ENTRIES} files.`);
      const tree = trees.get(entry.header.name.split('/', 1)[0] ?? '');
      if (!tree) throw refused(entry.header.name, 'it belongs to no folder of the job');
      await unpackEntry(tree, entry.header, entry as AsyncIterable<Buffer>);
      entry.resume();
    }
  };
  try {
    for (const root of CACHE_ROOTS) trees.set(root, await openSafeTree(roots[root]));
    await Promise.all([pipeline(content, untar), unpack()]);
  } finally {
    for (const tree of trees.values()) await tree.close();
  }
}

async function unpackEntry(tree: SafeTree, header: Header, content: AsyncIterable<Buffer>): Promise<void> {
  const path = checkPath(header.name.replace(/\/$/, '')).split('/').slice(1);
  if (path.length === 0) throw refused(header.name, 'it has no name');
  const { mode, mtime } = header;
  if (header.type === 'directory') return tree.folder(path, mode);
  if (header.type === 'file') return tree.file(path, { mode, mtime }, content);
  if (header.type !== 'symlink') throw refused(header.name, `it is a ${header.type} of no known kind`);
  const target = header.linkname;
  if (!linkStaysInside(path, target)) throw refused(header.name, 'it is a link that leaves the folder');
  return tree.link(path, target);
}

function refused(name: string, why: string): ImpGemError {
  return new ImpGemError('cache-refused', `Cache entry ${JSON.stringify(name.slice(0, 80))} is refused: ${why}.`);
}
