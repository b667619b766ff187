/**
 * The files of a job on an engine that does not share our disk: volumes, filled and read as tar streams through the
 * container that holds the job's network.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { InfrastructureError } from '../../errors.ts';
import { STEP_PATHS } from '../executor.ts';
import { engineCall } from './engine.ts';
import type { ExecutorParts } from './parts.ts';
import type { Slot } from './slot.ts';

export type SlotVolumes = Record<'workspace' | 'home' | 'objects', string>;

export async function createVolumes(
  parts: ExecutorParts,
  slotId: string,
  labels: Record<string, string>,
): Promise<SlotVolumes> {
  const names: SlotVolumes = {
    workspace: `impgem-${slotId}-workspace`,
    home: `impgem-${slotId}-home`,
    objects: `impgem-${slotId}-objects`,
  };
  await engineCall('create the volumes of a job', () =>
    Promise.all(Object.values(names).map((Name) => parts.docker.createVolume({ Name, Labels: labels }))),
  );
  return names;
}

/** What the holder mounts: files go in and out through it. */
export function holderBinds(volumes: SlotVolumes): string[] {
  return [
    `${volumes.workspace}:${STEP_PATHS.workspace}`,
    `${volumes.home}:${STEP_PATHS.home}`,
    `${volumes.objects}:${STEP_PATHS.objects}`,
  ];
}

/** Puts the folders of the job's host folder into its volumes. */
export async function pushFiles(parts: ExecutorParts, slot: Slot): Promise<void> {
  await pushFolder(parts, slot, join(slot.folder, 'workspace'), STEP_PATHS.workspace);
  await pushFolder(parts, slot, join(slot.folder, 'home'), STEP_PATHS.home);
}

export async function pushFolder(parts: ExecutorParts, slot: Slot, from: string, to: string): Promise<void> {
  // The folder itself comes with its open mode: steps may run as any user.
  // Named from the root: the engine refuses an archive with a link that leads out of where it is unpacked.
  const rename = `--transform=s,^\\.,${to.slice(1)},S`;
  const options = ['--numeric-owner', '--owner=0', '--group=0', rename, '-cf', '-', '.'];
  const tar = spawn('tar', ['-C', from, ...options], { stdio: ['ignore', 'pipe', 'pipe'] });
  await Promise.all([
    engineCall('copy files to the engine', () =>
      parts.docker.getContainer(slot.holderId).putArchive(tar.stdout, { path: '/' }),
    ),
    untilDone(tar, `pack ${to}`),
  ]);
}

/** Replaces the folders of the job's host folder by what is in its volumes now. */
export async function pullFiles(parts: ExecutorParts, slot: Slot): Promise<void> {
  await pullFolder(parts, slot, STEP_PATHS.workspace, join(slot.folder, 'workspace'));
  await pullFolder(parts, slot, STEP_PATHS.home, join(slot.folder, 'home'));
}

/** The archive is a step's work: it is unpacked into a new folder, without owners and special modes. */
async function pullFolder(parts: ExecutorParts, slot: Slot, from: string, to: string): Promise<void> {
  const fresh = join(slot.folder, 'docker', 'pulled');
  await rm(fresh, { recursive: true, force: true });
  await mkdir(fresh, { recursive: true });
  const archive = await engineCall('copy files from the engine', () =>
    parts.docker.getContainer(slot.holderId).getArchive({ path: `${from}/.` }),
  );
  const options = ['--no-same-owner', '--no-same-permissions', '--delay-directory-restore', '-xf', '-'];
  const tar = spawn('tar', ['-C', fresh, ...options], { stdio: ['pipe', 'ignore', 'pipe'] });
  await Promise.all([pipeline(Readable.from(archive), tar.stdin), untilDone(tar, `unpack ${from}`)]);
  await rm(to, { recursive: true, force: true });
  await rename(fresh, to);
}

async function untilDone(tar: ChildProcess, doing: string): Promise<void> {
  let complaint = '';
  tar.stderr?.on('data', (bytes: Buffer) => (complaint = (complaint + bytes.toString()).slice(-500)));
  const [code] = (await once(tar, 'close')) as [number | null];
  if (code !== 0) throw new InfrastructureError('copy-failed', `tar cannot ${doing}: ${complaint.trim()}`);
}
