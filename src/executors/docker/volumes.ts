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
import { InfrastructureError, InputError, systemCode } from '../../errors.ts';
import { STEP_PATHS } from '../executor.ts';
import { bindOf } from './container-spec.ts';
import { engineCall, engineError } from './engine.ts';
import type { ExecutorParts } from './parts.ts';
import type { Slot } from './slot.ts';

const FILES_LIMIT = 20 * 1024 ** 3;

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
    bindOf(volumes.workspace, STEP_PATHS.workspace),
    bindOf(volumes.home, STEP_PATHS.home),
    bindOf(volumes.objects, STEP_PATHS.objects),
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
  const copying = parts.docker.getContainer(slot.holderId).putArchive(tar.stdout, { path: '/' });
  await bothDone(copying, tar, `pack ${to}`);
}

/**
 * Replaces the folders of the job's host folder by what is in its volumes now. InputError `files-too-large` when a step
 * made more of it than the worker takes.
 */
export async function pullFiles(parts: ExecutorParts, slot: Slot, stop: AbortSignal): Promise<void> {
  await pullFolder(parts, slot, STEP_PATHS.workspace, join(slot.folder, 'workspace'), stop);
  await pullFolder(parts, slot, STEP_PATHS.home, join(slot.folder, 'home'), stop);
}

/** The archive is a step's work: it is unpacked into a new folder, without owners and special modes. */
async function pullFolder(
  parts: ExecutorParts,
  slot: Slot,
  from: string,
  to: string,
  stop: AbortSignal,
): Promise<void> {
  const fresh = join(slot.folder, 'docker', 'pulled');
  await rm(fresh, { recursive: true, force: true });
  await mkdir(fresh, { recursive: true });
  const archive = await engineCall('copy files from the engine', () =>
    parts.docker.getContainer(slot.holderId).getArchive({ path: `${from}/.` }),
  );
  const options = ['--no-same-owner', '--no-same-permissions', '--delay-directory-restore', '-xf', '-'];
  const tar = spawn('tar', ['-C', fresh, ...options], { stdio: ['pipe', 'ignore', 'pipe'] });
  const limit = parts.options.filesLimit ?? FILES_LIMIT;
  const copying = pipeline(Readable.from(archive), boundedBy(limit, from), tar.stdin, { signal: stop });
  try {
    await bothDone(copying, tar, `unpack ${from}`);
  } catch (error) {
    await rm(fresh, { recursive: true, force: true });
    stop.throwIfAborted();
    throw error;
  }
  await rm(to, { recursive: true, force: true });
  await rename(fresh, to);
}

/** A file may be as long as a step likes, without a byte of it on the disk of the engine: it would be whole on ours. */
function boundedBy(limit: number, folder: string) {
  return async function* (source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    let taken = 0;
    for await (const bytes of source) {
      taken += bytes.length;
      if (taken > limit)
        throw new InputError(
          'files-too-large',
          `${folder} has more than ${limit} bytes, which is the most that a worker takes from its engine (IMPGEM_CLONE_LIMIT)`,
        );
      yield bytes;
    }
  };
}

/** The failure of one is the end of the other: `tar` would wait at its pipe for ever. */
async function bothDone(copying: Promise<unknown>, tar: ChildProcess, doing: string): Promise<void> {
  const copied = copying.catch((error: unknown) => {
    tar.kill('SIGKILL');
    // What nobody takes out of its pipe any more would keep that open, and its end from being heard of.
    tar.stdout?.destroy();
    throw error;
  });
  const [copy, own] = await Promise.allSettled([copied, untilDone(tar, doing)]);
  // A pipe that broke because tar ended by itself: what that says tells more.
  const byTar = own.status === 'rejected' && tar.signalCode === null;
  if (copy.status === 'rejected' && !(byTar && systemCode(copy.reason) === 'EPIPE'))
    throw engineError(copy.reason, 'copy the files of a job');
  if (own.status === 'rejected') throw own.reason;
}

async function untilDone(tar: ChildProcess, doing: string): Promise<void> {
  let complaint = '';
  tar.stderr?.on('data', (bytes: Buffer) => (complaint = (complaint + bytes.toString()).slice(-500)));
  const [code] = (await once(tar, 'close')) as [number | null];
  if (code !== 0) throw new InfrastructureError('copy-failed', `tar cannot ${doing}: ${complaint.trim()}`);
}
