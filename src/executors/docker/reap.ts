/** Removes what workers that are dead left on the engine and on the disk. */
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerInfo } from 'dockerode';
import type { JobOwner } from '../executor.ts';
import { engineCall } from './engine.ts';
import { LABEL, ownerOf } from './labels.ts';
import type { ExecutorParts } from './parts.ts';

/** What is younger may be just in the making, by a worker that we do not know. */
const YOUNG_MS = 120_000;

interface Found {
  containers: ContainerInfo[];
  networks: string[];
  volumes: string[];
  worker?: string | undefined;
  owner?: JobOwner | undefined;
  /** ms since 1970. */
  newest: number;
}

/** Removes every slot that no live job owns and that is not in `ours`, as it is after we looked; gives how many. */
export async function reapSlots(
  parts: ExecutorParts,
  isLive: (owner: JobOwner) => boolean,
  ours: () => ReadonlySet<string>,
): Promise<number> {
  const slots = await findSlots(parts);
  const now = ours();
  const dead = [...slots].filter(([id, found]) => !now.has(id) && !isAlive(parts, found, isLive));
  await Promise.all(
    dead.flatMap(([, { containers, networks, volumes }]) => [
      ...containers.map(({ Id }) => parts.removal.container(Id)),
      ...volumes.map((name) => parts.removal.volume(name)),
      ...networks.map((id) => parts.removal.network(id)),
    ]),
  );
  for (const [id] of dead) await rm(join(parts.options.folder, id), { recursive: true, force: true });
  await reapFolders(parts, new Set([...ours(), ...slots.keys()]));
  return dead.length;
}

function isAlive(parts: ExecutorParts, slot: Found, isLive: (owner: JobOwner) => boolean): boolean {
  if (slot.owner) return isLive(slot.owner);
  // Warm, and of an earlier life of this worker.
  if (slot.worker === parts.options.workerName) return false;
  if (Date.now() - slot.newest < YOUNG_MS) return true;
  // A waiting container ends when its worker does; the holder of the network alone says nothing.
  return slot.containers.some(({ State, Names }) => State === 'running' && !Names.some((name) => /impgem-/.test(name)));
}

async function findSlots(parts: ExecutorParts): Promise<Map<string, Found>> {
  const filters = { label: [`${LABEL.instance}=${parts.options.instance}`] };
  const [containers, networks, { Volumes: volumes }] = await engineCall('look for what dead workers left', () =>
    Promise.all([
      parts.docker.listContainers({ all: true, filters }),
      parts.docker.listNetworks({ filters: JSON.stringify(filters) }),
      parts.docker.listVolumes({ filters: JSON.stringify(filters) }),
    ]),
  );
  const slots = new Map<string, Found>();
  const slotOf = (labels: Record<string, string>, createdAt: number): Found => {
    const id = labels[LABEL.slot] ?? '';
    const found = slots.get(id) ?? { containers: [], networks: [], volumes: [], newest: 0 };
    slots.set(id, found);
    found.worker = labels[LABEL.worker];
    found.newest = Math.max(found.newest, createdAt);
    return found;
  };
  for (const container of containers) {
    const slot = slotOf(container.Labels, container.Created * 1000);
    slot.containers.push(container);
    slot.owner ??= ownerOf(container.Labels, container.Names);
  }
  for (const network of networks) slotOf(network.Labels ?? {}, Date.parse(network.Created)).networks.push(network.Id);
  for (const volume of volumes) {
    const { CreatedAt } = volume as { CreatedAt?: string };
    slotOf(volume.Labels, CreatedAt === undefined ? 0 : Date.parse(CreatedAt)).volumes.push(volume.Name);
  }
  return slots;
}

/** Folders of warm slots that are nobody's. */
async function reapFolders(parts: ExecutorParts, known: ReadonlySet<string>): Promise<void> {
  const names = await readdir(parts.options.folder).catch((): string[] => []);
  for (const name of names.filter((candidate) => !known.has(candidate))) {
    const folder = join(parts.options.folder, name);
    const { mtimeMs } = await stat(folder);
    if (Date.now() - mtimeMs > YOUNG_MS) await rm(folder, { recursive: true, force: true });
  }
}
