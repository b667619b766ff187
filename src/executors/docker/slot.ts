/** A place for one job: its network, the container that holds it, the folders that its steps see. May exist before its job. */
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bindsOf, containerOptions } from './container-spec.ts';
import { processMark } from '../../process-mark.ts';
import type { JobOwner } from '../executor.ts';
import { USUAL_PATH } from './entry.ts';
import { engineCall, engineError, statusOf } from './engine.ts';
import { commonLabels, holderName, ownerLabels } from './labels.ts';
import type { JobImages } from './job-images.ts';
import { createJobNetwork } from './job-network.ts';
import type { ExecutorParts } from './parts.ts';
import type { StartQueue } from './start-queue.ts';
import { startError } from './step-container.ts';
import { unlessAborted } from './unless-aborted.ts';
import { createVolumes, holderBinds, type SlotVolumes } from './volumes.ts';

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
  /** Where the engine does not share our disk. */
  volumes?: SlotVolumes;
  /** Begun by an earlier worker, which may have asked the engine for more than we saw. */
  adopted?: boolean;
  nextStep: number;
  /** All containers but the holder. */
  containers: Set<string>;
  /** The container of its nested engine, once a step wanted one. */
  nestedId?: string | undefined;
  nestedVolumes: Set<string>;
  /** Starts of what asks in the holder for ports of services, once one does. */
  probes?: StartQueue;
  /** Settles when the holder has room for them. */
  probeRoom?: Promise<void>;
}

/** Does nothing, at next to no cost, until it is removed. */
const HOLD = ['/bin/sh', '-c', `${USUAL_PATH}; exec sleep 2147483647`];
/** Of what changes owners in it. Few, for what runs there is of the job's image, and most jobs have no services. */
const HOLDER_LIMITS = { memory: 64 * 1024 * 1024, pids: 16 };
/** As many as one job may have by the schema; for each a command may run in the holder that asks whether its port is open. */
const MOST_SERVICES = 500;
/** Such a command takes two processes and 0.7 MB. Some more is for what the engine starts it with, and what changes owners. */
const PROBED_LIMITS = { memory: (64 + MOST_SERVICES) * 1024 * 1024, pids: 64 + 2 * MOST_SERVICES };

export interface SlotWish {
  /** Of newSlotId. */
  id?: string;
  /** The job's; absent: a new one under the folder of warm slots. */
  folder?: string;
  image: string;
  objects?: string;
  owner?: JobOwner;
  images: JobImages;
  /** Aborted: nobody waits for it any more. */
  abandoned?: AbortSignal;
}

export function newSlotId(): string {
  return randomBytes(6).toString('hex');
}

export async function createSlot(parts: ExecutorParts, wanted: SlotWish): Promise<Slot> {
  const { options } = parts;
  const { id = newSlotId() } = wanted;
  const labels = { ...commonLabels(options, id), ...ownerLabels(wanted.owner) };
  const folder = wanted.folder ?? join(options.folder, id);
  const objects = wanted.objects ?? join(folder, 'docker', 'objects');
  const { note } = wanted.images;
  const image = wanted.images.ensure(wanted.image);
  // A pull may take minutes, and nothing has been made yet.
  await (wanted.abandoned === undefined ? image : unlessAborted(image, wanted.abandoned));
  const slot: Slot = {
    id,
    folder,
    image: wanted.image,
    objects,
    networkId: '',
    holderId: '',
    labels,
    nextStep: 0,
    containers: new Set(),
    nestedVolumes: new Set(),
  };
  try {
    // After what may take long: a folder of which the engine knows nothing yet looks like a dead worker's.
    if (wanted.folder === undefined) await markFolder(folder);
    await makeFolders(folder);
    const shared = await parts.sharesDisk(wanted.image);
    const rules = parts.rules.ensure();
    rules.catch(() => undefined); // Awaited below.
    if (!shared) slot.volumes = await createVolumes(parts, id, labels);
    // A container names its network, which Docker wants to be there when it starts; Podman wants it before.
    const network = createJobNetwork(parts, { id, name: networkName(id), labels }, note);
    const create = () => parts.starts.run(() => createHolder(parts, slot, wanted.owner));
    // Both have ended before anything is removed.
    const made = await Promise.allSettled([
      network.then((made) => (slot.networkId = made)),
      create()
        .catch(() => network.then(create))
        .then((made) => (slot.holderId = made)),
    ]);
    for (const one of made) if (one.status === 'rejected') throw one.reason;
    await parts.starts.run(() => startHolder(parts, slot));
    const caveat = await rules;
    if (caveat !== undefined) note(caveat);
  } catch (error) {
    void removeSlot(parts, slot);
    if (wanted.folder === undefined) await rm(folder, { recursive: true, force: true });
    throw error;
  }
  return slot;
}

async function createHolder(parts: ExecutorParts, slot: Slot, owner: JobOwner | undefined): Promise<string> {
  const name = owner === undefined ? `impgem-warm.${slot.id}` : holderName(owner);
  const holder = await engineCall(`create a container of ${slot.image}`, async () => {
    const options = {
      name,
      ...containerOptions({
        engine: parts.engine,
        image: slot.image,
        entrypoint: HOLD,
        labels: slot.labels,
        network: networkName(slot.id),
        // Podman cannot change them later.
        limits: parts.engine.name === 'Podman' ? PROBED_LIMITS : HOLDER_LIMITS,
        binds: slot.volumes ? holderBinds(slot.volumes) : filesOf(slot.folder),
        // What changes the owner of files in it must be root.
        user: '0',
        stdin: false,
        log: 'none',
      }),
    };
    return takingName(parts, name, () => parts.docker.createContainer(options));
  });
  return holder.id;
}

/** Of the same attempt there may be one, left by a worker that died while it prepared it. */
async function takingName<T>({ docker }: ExecutorParts, name: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (statusOf(error) !== 409) throw error;
    await docker.getContainer(name).remove({ force: true, v: true });
    return call();
  }
}

/** Says on the engine whose a slot is that was made before its job: labels cannot be added, a name can be changed. */
export async function nameHolder(parts: ExecutorParts, { holderId }: Slot, owner: JobOwner): Promise<void> {
  const name = holderName(owner);
  await engineCall('name the container that holds the network of a job', () =>
    takingName(parts, name, () => parts.docker.getContainer(holderId).rename({ name })),
  );
}

async function startHolder({ docker }: ExecutorParts, { holderId, image }: Slot): Promise<void> {
  try {
    await docker.getContainer(holderId).start();
  } catch (error) {
    throw startError(error, image);
  }
}

/** Once a port is asked for. An engine that cannot do it refuses: then fewer are asked at a time, and the others again. */
export async function makeRoomForProbes({ docker }: ExecutorParts, { holderId }: Slot): Promise<void> {
  const { memory, pids } = PROBED_LIMITS;
  try {
    await docker.getContainer(holderId).update({ Memory: memory, MemorySwap: memory, PidsLimit: pids });
  } catch (error) {
    if (statusOf(error) === undefined) throw engineError(error, 'make room for what asks for the ports of services');
  }
}

/** Through the holder the files change their owner. */
function filesOf(folder: string): string[] {
  return bindsOf({ workspace: join(folder, 'workspace'), home: join(folder, 'home') });
}

export function networkName(slotId: string): string {
  return `impgem-${slotId}`;
}

/** In a warm slot's folder: the process that made it, for the engine may never hear of what was killed so early. */
export const MAKER_FILE = 'maker';

async function markFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(join(folder, MAKER_FILE), processMark());
}

/** The steps may run as any user of their image. */
async function makeFolders(folder: string): Promise<void> {
  await mkdir(join(folder, 'docker', 'objects'), { recursive: true, mode: 0o700 });
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
  for (const name of [...Object.values(slot.volumes ?? {}), ...slot.nestedVolumes]) void removal.volume(name);
  if (slot.networkId !== '') await removal.network(slot.networkId);
}
