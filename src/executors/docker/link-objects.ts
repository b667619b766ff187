import { copyFile, link, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Shows the mirror's objects in a folder that a container has mounted already: by hard links, which cost next to nothing.
 * Steps see that folder through a read-only mount, so that they cannot write to what the links share.
 */
export async function linkObjects(from: string, to: string): Promise<void> {
  const entries = await readdir(from, { withFileTypes: true });
  await Promise.all(
    entries.map(async (entry) => {
      const [source, target] = [join(from, entry.name), join(to, entry.name)];
      if (entry.isFile()) return linkOrCopy(source, target).catch(unlessGone);
      if (!entry.isDirectory()) return;
      await mkdir(target, { recursive: true });
      await linkObjects(source, target);
    }),
  );
}

async function linkOrCopy(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    // Another file system, or one without hard links.
    if (!['EXDEV', 'EPERM', 'ENOTSUP'].includes(String((error as NodeJS.ErrnoException).code))) throw error;
    await copyFile(from, to);
  }
}

/** A fetch into the mirror goes on beside: its temporary files come and go. */
function unlessGone(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT' && error.code !== 'EEXIST') throw error;
}
