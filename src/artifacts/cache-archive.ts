/** The two halves of a cache's tar: made from, and unpacked into, folders that belong to a stranger. */
import { lstat, readlink, realpath } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { extract, pack as createPack, type Header, type Pack } from 'tar-stream';
import { ImpGemError } from '../errors.ts';
import type { CacheContent, CacheRoots } from '../worker/ports.ts';
import { CACHE_ROOTS, linkStaysInside, type CachePath, type CacheRoot } from './cache-paths.ts';
import { ifMissing } from './if-missing.ts';
import { mapParallel } from './map-parallel.ts';
import { openPlainFile, openPlainFolder } from './open-plain-file.ts';
import { placeFault } from './safe-path.ts';
import { openSafeTree, type SafeTree } from './safe-tree.ts';

const MOST_ENTRIES = 1_000_000;
const EMPTY = Buffer.alloc(0);
/** Files that are looked at and read at the same time. */
const AHEAD = 16;
const BLOCK = 512 * 1024;

/**
 * A tar of the paths that exist, made while it is read; `content` is true once it was read to its end. Links that lead
 * out of their root, sockets, pipes, devices and names that are no UTF-8 are left out: nothing could be restored from
 * them. So is a path that is a link itself: it would come back without what it leads to.
 */
export function packCache(
  roots: CacheRoots,
  paths: CachePath[],
): { stream: AsyncIterable<Buffer>; content: CacheContent } {
  const content: CacheContent = { kept: 0, leftOut: 0 };
  const stream = async function* () {
    const pack = createPack();
    const fill = async () => {
      for (const { root, path } of paths) await packTree(pack, content, await realpath(roots[root]), root, path);
      pack.finalize();
    };
    // Started by the first read: a stream that fails while nobody listens would leave a later reader waiting for ever.
    fill().catch((error: unknown) => pack.destroy(error instanceof Error ? error : new Error(String(error))));
    yield* pack as AsyncIterable<Buffer>;
  };
  return { stream: stream(), content };
}

type EntryHeader = Partial<Header> & Pick<Header, 'name'>;

/** One thing to pack: with its content, or where that is when it is large; of a folder, what is in it. */
interface Item {
  header: EntryHeader;
  body?: Buffer;
  source?: string;
  children?: string[];
}

async function packTree(pack: Pack, content: CacheContent, base: string, root: CacheRoot, top: string): Promise<void> {
  const parent = dirname(`${base}/${top}`);
  if ((await ifMissing(parent, realpath(parent))) !== parent) {
    throw new ImpGemError('cache-refused', `Cache path ${JSON.stringify(top)} goes through a link.`);
  }
  let entries = 0;
  const queue = [top];
  while (queue.length > 0) {
    const batch = queue.splice(-AHEAD);
    entries += batch.length;
    if (entries > MOST_ENTRIES) throw new ImpGemError('quota', `The cache has more than ${MOST_ENTRIES} files.`);
    const items = await mapParallel(batch, AHEAD, (path) => examine(base, root, path, path === top));
    for (const [n, item] of items.entries()) {
      if (item === undefined) continue;
      if (typeof item === 'string') {
        content.leftOut++;
        content.first ??= { path: `${root === 'home' ? '~/' : ''}${batch[n]}`, why: item };
        continue;
      }
      content.kept++;
      await addItem(pack, item);
      queue.push(...(item.children ?? []));
    }
  }
}

/** Why it is left out, where it is; undefined when there is no such thing (any more). */
async function examine(base: string, root: CacheRoot, path: string, top: boolean): Promise<Item | string | undefined> {
  const fault = placeFault(path);
  if (fault) return fault;
  const place = `${base}/${path}`;
  const status = await ifMissing(undefined, lstat(place));
  if (!status) return undefined;
  const header = { name: `${root}/${path}`, mode: status.mode & 0o777, mtime: status.mtime };
  if (status.isDirectory()) {
    const children: string[] = [];
    for await (const { name } of await openPlainFolder(place)) children.push(`${path}/${name}`);
    return { header: { ...header, type: 'directory' }, children };
  }
  if (status.isSymbolicLink()) {
    if (top) return 'it is a link; name what it leads to';
    const linkname = await readlink(place);
    if (linkname.includes('\ufffd')) return 'it is a link to a name that is no UTF-8';
    if (linkStaysInside(path.split('/'), linkname)) return { header: { ...header, type: 'symlink', linkname } };
    return `it is a link that is absolute or leaves the ${root === 'home' ? 'home folder' : 'workspace'}`;
  }
  return status.isFile() ? { header, ...(await readSmall(place)) } : 'it is not a regular file';
}

/** Most files of a cache are small: read here, some at a time, they cost no stream and no wait of their own. */
async function readSmall(place: string): Promise<Pick<Item, 'body' | 'source'>> {
  const handle = await openPlainFile(place);
  try {
    const { size } = await handle.stat();
    if (size > BLOCK) return { source: place };
    const body = Buffer.alloc(size);
    const { bytesRead } = await handle.read(body, 0, size, 0);
    return { body: body.subarray(0, bytesRead) };
  } finally {
    await handle.close();
  }
}

async function addItem(pack: Pack, { header, body, source }: Item): Promise<void> {
  if (source !== undefined) {
    const handle = await openPlainFile(source);
    const { size } = await handle.stat();
    const stream = handle.createReadStream({ end: size - 1, highWaterMark: BLOCK });
    await pipeline(stream, pack.entry({ ...header, size }));
    return;
  }
  await new Promise<void>((resolve, reject) => {
    pack.entry(header, body ?? EMPTY, (error) => (error ? reject(error) : resolve()));
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
  const name = header.name.replace(/\/$/, '');
  const fault = placeFault(name);
  if (fault) throw refused(header.name, fault);
  const path = name.split('/').slice(1);
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
