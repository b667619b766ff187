import { statfs } from 'node:fs/promises';

export interface FreeRoom {
  bytes: number;
  /** Files that can still be made; Infinity where the file system does not count them (btrfs and others make inodes as they go). */
  files: number;
}

/** What is left for users on the disk of a folder: one without inodes is as full as one without bytes, and looks empty. */
export async function freeRoom(folder: string): Promise<FreeRoom> {
  const { bavail, bsize, files, ffree } = await statfs(folder);
  return { bytes: bavail * bsize, files: files === 0 ? Infinity : ffree };
}
