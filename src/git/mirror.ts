import { createHash, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { access, mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { InputError, diskError } from '../errors.ts';
import { parseRepository } from '../runs/event.ts';

/** What a failing disk is said to have failed at. */
export const MIRRORS = 'the mirrors';

/** Folder of the bare mirror of `forge/owner/name`. Throws InputError `repository-invalid`. */
export function mirrorPath(folder: string, repository: string): string {
  const name = parseRepository(repository);
  if (!name) throw new InputError('repository-invalid', `${JSON.stringify(repository)} is not forge/owner/name`);
  return join(folder, name.forge, name.owner, `${name.name}.git`);
}

/**
 * Where the mirror keeps a ref of the remote. Hashed: a branch `a` that made way for `a/b`, names that differ in case
 * only and names too long for a file cannot get in each other's way, and no name of a stranger becomes a path.
 */
export function mirrorRef(ref: string): string {
  return `refs/impgem/${createHash('sha256').update(ref).digest('hex').slice(0, 40)}`;
}

/**
 * Makes the mirror unless it exists: four files, by hand, for a git process less on the way of a first push.
 * InfrastructureError `disk-full` or `disk-error` when the disk fails.
 */
export async function ensureMirror(mirror: string, sha?: string): Promise<void> {
  if (await isThere(join(mirror, 'HEAD'))) return;
  await makeFolder(join(mirror, 'objects/pack'));
  await makeFolder(join(mirror, 'refs'));
  await writeWhole(join(mirror, 'config'), repositoryConfig({ bare: true, sha256: sha?.length === 64 }));
  // HEAD last: its presence says that the rest is there.
  await writeWhole(join(mirror, 'HEAD'), 'ref: refs/heads/none\n');
}

/** False where objects of the other format are there already: running workspaces may borrow them. */
export async function setObjectFormat(mirror: string, sha256: boolean): Promise<boolean> {
  const packs = await readdir(join(mirror, 'objects/pack'));
  if (packs.some((name) => name.endsWith('.pack'))) return false;
  await writeWhole(join(mirror, 'config'), repositoryConfig({ bare: true, sha256 }));
  return true;
}

/**
 * Whoever is killed here leaves no file that is there and empty: git would take the mirror for no repository for ever.
 * InfrastructureError `disk-full` or `disk-error`.
 */
export async function writeWhole(file: string, text: string): Promise<void> {
  // By this ending git knows that it is no ref, should it be left here.
  const fresh = `${file}.${randomUUID()}.lock`;
  try {
    await writeFile(fresh, text);
    await rename(fresh, file);
  } catch (error) {
    await rm(fresh, { force: true }).catch(() => undefined); // The first error says what is wrong.
    throw diskError(MIRRORS, error);
  }
}

/** With those above it; one that is there already stays. InfrastructureError `disk-full` or `disk-error`. */
export async function makeFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true }).catch((error: unknown) => {
    throw diskError(MIRRORS, error);
  });
}

/** There, with something in it: a loss of power may leave a file that was just renamed empty. */
async function isThere(file: string): Promise<boolean> {
  return stat(file).then(
    ({ size }) => size > 0,
    () => false,
  );
}

export function repositoryConfig(options: { bare: boolean; sha256: boolean }): string {
  return [
    '[core]',
    `\trepositoryformatversion = ${options.sha256 ? 1 : 0}`,
    '\tfilemode = true',
    `\tbare = ${options.bare}`,
    ...(options.bare ? [] : ['\tlogallrefupdates = true']),
    ...(options.sha256 ? ['[extensions]', '\tobjectformat = sha256'] : []),
    '',
  ].join('\n');
}

/** The mirror's object format, as its own configuration says. */
export function usesSha256(mirror: string): boolean {
  return /objectformat = sha256/.test(readFileSync(join(mirror, 'config'), 'utf8'));
}

export async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
