/** A place for one job: its network, the container that holds it, the folders that its steps see. May exist before its job. */
import { randomBytes } from 'node:crypto';
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { containerOptions } from './container-spec.ts';
import { engineCall } from './engine.ts';
import { LABEL } from './labels.ts';
import type { ExecutorParts } from './parts.ts';

export interface Slot {
  id: string;
  /** Host folder with workspace/, home/, docker/. Moves when a job claims a warm slot. */
  folder: string;
  image: string;
  /** Host folder of git objects that steps see, read-only. */
  objects: string;
  networkId: string;
  holderId: string;
  labels: Record<string, string>;
  nextStep: number;
  /** All containers but the holder. */
  containers: Set<string>;
}

/** Does nothing, at next to no cost, until it is removed. */
const HOLD = ['/bin/sh', '-c', 'exec sleep 2147483647'];
const HOLDER_LIMITS = { memory: 64 * 1024 * 1024, pids: 16 };

export async function createSlot(
  parts: ExecutorParts,
  wanted: { folder: string; image: string; objects?: string; labels: Record<string, string>; holderName?: string },
): Promise<Slot> {
  const { docker, options } = parts;
  const id = randomBytes(6).toString('hex');
  const labels = {
    [LABEL.instance]: options.instance,
    [LABEL.worker]: options.workerName,
    [LABEL.slot]: id,
    ...wanted.labels,
  };
  const objects = wanted.objects ?? join(wanted.folder, 'docker', 'objects');
  await Promise.all([makeFolders(wanted.folder), mkdir(objects, { recursive: true })]);
  const network = await engineCall('create the network of a job', () =>
    docker.createNetwork({
      Name: `impgem-${id}`,
      Labels: labels,
      // A name of ours, so that rules of the packet filter can mean all jobs' bridges.
      Options: { 'com.docker.network.bridge.name': `ig${id}` },
    }),
  );
  const slot: Slot = {
    id,
    folder: wanted.folder,
    image: wanted.image,
    objects,
    networkId: network.id,
    holderId: '',
    labels,
    nextStep: 0,
    containers: new Set(),
  };
  try {
    const holder = await engineCall(`create a container of ${wanted.image}`, () =>
      docker.createContainer({
        ...(wanted.holderName === undefined ? {} : { name: wanted.holderName }),
        ...containerOptions({
          image: wanted.image,
          entrypoint: HOLD,
          labels,
          network: `impgem-${id}`,
          limits: HOLDER_LIMITS,
          binds: [],
          stdin: false,
          log: 'none',
        }),
      }),
    );
    slot.holderId = holder.id;
    await engineCall(`start a container of ${wanted.image}`, () => holder.start());
  } catch (error) {
    void removeSlot(parts, slot);
    throw error;
  }
  return slot;
}

/** The steps may run as any user of their image. */
async function makeFolders(folder: string): Promise<void> {
  for (const name of ['workspace', 'home']) {
    await mkdir(join(folder, name), { recursive: true });
    await chmod(join(folder, name), 0o777);
  }
}

/** Removes everything of a slot but its folder, in the background; settles when it is gone. */
export async function removeSlot(parts: ExecutorParts, slot: Slot): Promise<void> {
  const { removal } = parts;
  for (const id of slot.containers) void removal.container(id);
  if (slot.holderId !== '') void removal.container(slot.holderId);
  await removal.network(slot.networkId);
}
