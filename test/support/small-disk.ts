import { execFileSync, spawnSync } from 'node:child_process';
import { statfsSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { temporaryFolder } from './temporary-folder.ts';

const BLOCK = Buffer.alloc(64 * 1024);

export interface SmallDisk {
  folder: string;
  /** Fills it until so many bytes are left. */
  fill(bytes: number): Promise<void>;
  /** As it was before it was filled. */
  empty(): Promise<void>;
}

/** A disk of its own with so many bytes, until the test is over. */
export async function smallDisk(bytes: number): Promise<SmallDisk> {
  const folder = await temporaryFolder();
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', folder]);
  onTestFinished(() => void spawnSync('umount', ['-l', folder]));
  const ballast = join(folder, 'ballast');
  const free = (): number => {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize;
  };
  return {
    folder,
    async fill(left) {
      for (let size = free() - left; size > 0; size = free() - left)
        await writeFile(ballast, BLOCK.subarray(0, Math.min(size, BLOCK.length)), { flag: 'a' });
    },
    empty: () => rm(ballast, { force: true }),
  };
}
