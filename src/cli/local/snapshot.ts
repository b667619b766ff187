/** The checkout as it is now, copied once; the workspaces of a run's jobs are copies of that. */
import { constants } from 'node:fs';
import { copyFile, cp, lstat, mkdir, readdir, readlink, rename, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { STEP_PATHS } from '../../executors/executor.ts';
import { repositoryConfig } from '../../git/mirror.ts';
import { runGit } from '../../git/run-git.ts';
import { listCheckout, packedTags, type Checkout } from './checkout.ts';

/** Host path of the objects that a workspace's `.git` borrows; undefined when they are copied, as the checkout borrows itself. */
export function borrowedObjects(checkout: Checkout): string | undefined {
  return checkout.borrows ? undefined : join(checkout.commonDir, 'objects');
}

const COPIES_AT_ONCE = 32;
const GIT_MS = 600_000;

/** Fills `folder`, which it makes. Nothing of it goes on once it has settled, also when the signal ends it. */
export async function takeSnapshot(checkout: Checkout, folder: string, signal: AbortSignal): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await makeGitDir(checkout, join(folder, '.git'), signal);
  await copyFiles(checkout, folder, signal);
  await makeIndex(checkout, folder, signal);
}

/**
 * Fills `target` (exists, empty), which stays the folder that it is: containers have mounted it already. `last`: nobody
 * asks again, so the files themselves may become the workspace's. Nothing goes on once it has settled.
 */
export async function copySnapshot(
  snapshot: string,
  target: string,
  last: boolean,
  signal: AbortSignal,
): Promise<void> {
  if (last) {
    for (const name of await readdir(snapshot)) await rename(join(snapshot, name), join(target, name));
    return;
  }
  const filter = (): boolean => {
    signal.throwIfAborted();
    return true;
  };
  await cp(snapshot, target, { recursive: true, verbatimSymlinks: true, mode: constants.COPYFILE_FICLONE, filter });
}

/** A `.git` of its own; the objects are the user's repository's, which steps see read-only. */
async function makeGitDir(checkout: Checkout, gitDir: string, signal: AbortSignal): Promise<void> {
  await mkdir(join(gitDir, 'objects/info'), { recursive: true });
  await mkdir(join(gitDir, 'objects/pack'), { recursive: true });
  await mkdir(join(gitDir, 'refs'), { recursive: true });
  const { branch, sha, origin, commonDir } = checkout;
  const remote = origin === undefined ? '' : `[remote "origin"]\n\turl = ${JSON.stringify(origin)}\n`;
  const heads = branch === undefined ? '' : `${sha} refs/heads/${branch}\n`;
  const objects = borrowedObjects(checkout);
  await allOf([
    writeFile(join(gitDir, 'HEAD'), branch === undefined ? `${sha}\n` : `ref: refs/heads/${branch}\n`),
    writeFile(join(gitDir, 'config'), repositoryConfig({ bare: false, sha256: sha.length === 64 }) + remote),
    writeFile(join(gitDir, 'packed-refs'), heads + (await packedTags(checkout))),
    // Only a shallow clone has it.
    copyFile(join(commonDir, 'shallow'), join(gitDir, 'shallow')).catch(() => undefined),
    objects === undefined
      ? packObjects(checkout, gitDir, signal)
      : writeFile(join(gitDir, 'objects/info/alternates'), `${objects}\n`),
  ]);
}

async function packObjects(checkout: Checkout, gitDir: string, signal: AbortSignal): Promise<void> {
  const args = ['pack-objects', '--revs', '--quiet', join(gitDir, 'objects/pack/pack')];
  await runGit({ gitDir: checkout.gitDir, allowFile: false, timeoutMs: GIT_MS, args, input: 'HEAD\n', signal });
}

async function copyFiles(checkout: Checkout, folder: string, signal: AbortSignal): Promise<void> {
  const names = await listCheckout(checkout);
  // Git also names what it knew below a folder that is gone, or is a file or a link now.
  const folders = new Set<string>(['.']);
  for (const parent of new Set(names.map((name) => dirname(name)))) await addFolder(checkout.root, parent, folders);
  for (const parent of folders) await mkdir(join(folder, parent), { recursive: true });
  const next = names.filter((name) => folders.has(dirname(name))).values();
  const copyNext = async (): Promise<void> => {
    for (const name of next) {
      signal.throwIfAborted();
      await copyOne(join(checkout.root, name), join(folder, name));
    }
  };
  await allOf(Array.from({ length: COPIES_AT_ONCE }, copyNext));
}

/** Throws the first error when all have settled. */
async function allOf(work: Promise<unknown>[]): Promise<void> {
  await Promise.allSettled(work);
  await Promise.all(work);
}

/** Adds the path and all above it, if they are folders of the checkout. */
async function addFolder(root: string, path: string, folders: Set<string>): Promise<boolean> {
  if (folders.has(path)) return true;
  if (!(await addFolder(root, dirname(path), folders))) return false;
  const status = await lstat(join(root, path)).catch(() => undefined);
  if (status?.isDirectory() !== true) return false;
  folders.add(path);
  return true;
}

async function copyOne(from: string, to: string): Promise<void> {
  const status = await lstat(from).catch(() => undefined);
  if (status?.isSymbolicLink()) await symlink(await readlink(from), to);
  else if (status?.isFile()) await copyFile(from, to, constants.COPYFILE_FICLONE);
  // A submodule: empty, as a clone without submodules has it.
  else if (status?.isDirectory()) await mkdir(to, { recursive: true });
}

/** So that `git status` in a step says what it says outside. No step has touched this tree yet. */
async function makeIndex(checkout: Checkout, folder: string, signal: AbortSignal): Promise<void> {
  const gitDir = join(folder, '.git');
  const args = ['reset', '--mixed'];
  await runGit({ gitDir, workTree: folder, allowFile: false, timeoutMs: GIT_MS, args, signal });
  if (borrowedObjects(checkout) !== undefined)
    await writeFile(join(gitDir, 'objects/info/alternates'), `${STEP_PATHS.objects}\n`);
}
