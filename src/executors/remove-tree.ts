/** Removes a folder in which a step may have taken the permissions away. */
import { chmodSync, readdirSync, rmSync } from 'node:fs';
import { chmod, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** The usual few files at once; more of them without holding up this process. Links are removed, never followed. */
export async function removeTree(folder: string): Promise<void> {
  try {
    chmodSync(folder, 0o700);
    const entries = readdirSync(folder, { withFileTypes: true });
    if (entries.length < 10 && entries.every((entry) => !entry.isDirectory())) {
      rmSync(folder, { recursive: true });
      return;
    }
    await openFolders(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  await rm(folder, { recursive: true, force: true });
}

async function openFolders(folder: string): Promise<void> {
  await chmod(folder, 0o700);
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) await openFolders(join(folder, entry.name));
  }
}
