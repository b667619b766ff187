/**
 * Writes below a folder that a stranger may be changing at this very moment (a step that runs beside us). Every part of
 * a path is opened from the folder before it, without following links: a folder that is swapped for a link between two
 * calls changes nothing, for we hold the folder itself, not its name.
 */
import { constants } from 'node:fs';
import { mkdir, open, symlink, unlink, type FileHandle } from 'node:fs/promises';
import { ImpGemError, diskError, systemCode } from '../errors.ts';

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

export interface SafeTree {
  /** Makes the folder unless it is there; a file or link in its place is removed. */
  folder(path: string[], mode: number): Promise<void>;
  /** Writes a new file; a file or link of that name is removed first, so that nothing is ever written through it. */
  file(path: string[], meta: { mode: number; mtime: Date }, content: AsyncIterable<Buffer>): Promise<void>;
  link(path: string[], target: string): Promise<void>;
  close(): Promise<void>;
}

/** Paths are lists of plain names (see safe-path.ts). ImpGemError `file-conflict` when a folder is in the way of a file. */
export async function openSafeTree(root: string): Promise<SafeTree> {
  const base = await open(root, FOLDER);
  const { uid, gid } = await base.stat();
  // What root unpacks belongs to whom the folder belongs to: the user that the steps run as.
  const give = process.getuid?.() === 0 && uid !== 0 ? (handle: FileHandle) => handle.chown(uid, gid) : undefined;
  /** The folder in use and those above it, so that files of one folder, which come together, open it once. */
  let chain: { name: string; handle: FileHandle }[] = [];

  const enter = async (path: string[]): Promise<FileHandle> => {
    const same = path.findIndex((name, n) => chain[n]?.name !== name);
    const kept = same === -1 ? path.length : same;
    for (const { handle } of chain.splice(kept)) await handle.close();
    for (const name of path.slice(kept)) {
      const handle = await openFolder(chain.at(-1)?.handle ?? base, name, give);
      chain.push({ name, handle });
    }
    return chain.at(-1)?.handle ?? base;
  };
  const place = async (path: string[]) => within(await enter(path.slice(0, -1)), path.at(-1) ?? '');

  const guarded =
    <A extends unknown[]>(task: (...args: A) => Promise<void>) =>
    (...args: A) =>
      task(...args).catch((error: unknown) => {
        throw diskError('the job folder', error);
      });

  return {
    folder: guarded(async (path, mode) => {
      await (await enter(path)).chmod((mode & 0o777) | 0o700);
    }),
    file: guarded(async (path, { mode, mtime }, content) => {
      const target = await place(path);
      const handle = await replacing(target, () => open(target, CREATE, 0o600));
      try {
        for await (const block of content) await handle.writeFile(block);
        await handle.chmod(mode & 0o777);
        await handle.utimes(mtime, mtime);
        await give?.(handle);
      } finally {
        await handle.close();
      }
    }),
    link: guarded(async (path, link) => {
      const target = await place(path);
      await replacing(target, () => symlink(link, target));
    }),
    close: async () => {
      await Promise.all([base, ...chain.map(({ handle }) => handle)].map((handle) => handle.close()));
      chain = [];
    },
  };
}

/** A name in a folder that is open: the kernel goes on from the folder itself, whatever its path is by now. */
const within = (folder: FileHandle, name: string) => `/proc/self/fd/${folder.fd}/${name}`;

type Give = ((handle: FileHandle) => Promise<void>) | undefined;

async function openFolder(parent: FileHandle, name: string, give: Give): Promise<FileHandle> {
  const path = within(parent, name);
  try {
    return await open(path, FOLDER);
  } catch (error) {
    const code = systemCode(error);
    if (code !== 'ENOENT' && code !== 'ENOTDIR' && code !== 'ELOOP') throw error;
    await replacing(path, () => mkdir(path));
    const handle = await open(path, FOLDER);
    await give?.(handle);
    return handle;
  }
}

async function replacing<T>(path: string, create: () => Promise<T>): Promise<T> {
  try {
    return await create();
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
    await unlink(path).catch((cause: unknown) => {
      throw new ImpGemError('file-conflict', 'A folder of the job is where a cached file belongs.', { cause });
    });
    return create();
  }
}
