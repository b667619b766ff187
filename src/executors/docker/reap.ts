/** Removes what workers that are dead left on the engine and on the disk. */
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerInfo } from 'dockerode';
import type { JobOwner } from '../executor.ts';
import { engineCall } from './engine.ts';
import { markLives, processMark } from '../../process-mark.ts';
import { LABEL, ownerOf } from './labels.ts';
import type { ExecutorParts } from './parts.ts';
import { MAKER_FILE } from './slot.ts';

/** What is younger may be just in the making, by a worker that we do not know. */
const YOUNG_MS = 120_000;

/** A slot's folder stands before anything of it is on the engine, whose addresses it may have to wait for. */
const YOUNG_FOLDER_MS = 600_000;
/** It says whose it is from its first moment: one that does not is what a removal left that was cut off. */
const UNMARKED_MS = 60_000;
const SLOT_ID = /^[0-9a-f]{12}$/;

interface Found {
  containers: ContainerInfo[];
  networks: string[];
  volumes: string[];
  /** The process that made it. */
  process?: string | undefined;
  owner?: JobOwner | undefined;
  /** ms since 1970. */
  newest: number;
}

/** Removes every slot that no live job owns and that is not in `ours`, as it is after we looked; gives how many. */
export async function reapSlots(
  parts: ExecutorParts,
  isLive: (owner: JobOwner) => boolean | Promise<boolean>,
  ours: () => ReadonlySet<string>,
): Promise<number> {
  const { slots, momentary } = await findAll(parts);
  const now = ours();
  const dead: [string, Found][] = [];
  for (const [id, found] of slots) if (!now.has(id) && !(await isAlive(found, isLive))) dead.push([id, found]);
  const over = momentary.filter((container) => !mayWork(container));
  await Promise.all([
    ...over.map(({ Id }) => parts.removal.container(Id)),
    ...dead.flatMap(([, { containers, networks, volumes }]) => [
      ...containers.map(({ Id }) => parts.removal.container(Id)),
      ...volumes.map((name) => parts.removal.volume(name)),
      ...networks.map((id) => parts.removal.network(id)),
    ]),
  ]);
  for (const [id] of dead) await rm(join(parts.options.folder, id), { recursive: true, force: true });
  await reapFolders(parts, new Set([...ours(), ...slots.keys()]));
  return dead.length + over.length;
}

async function isAlive(slot: Found, isLive: (owner: JobOwner) => boolean | Promise<boolean>): Promise<boolean> {
  if (slot.owner) return isLive(slot.owner);
  // Warm. This process knows its own.
  if (slot.process === processMark()) return false;
  const lives = markLives(slot.process ?? '');
  if (lives !== undefined) return lives;
  if (isYoung(slot.newest)) return true;
  // A waiting container ends when its worker does; the holder of the network alone says nothing.
  return slot.containers.some(({ State, Names }) => State === 'running' && !Names.some((name) => /impgem-/.test(name)));
}

/** A container that sets rules, or removes files: the one that made it removes it when it has done its work. */
function mayWork({ Created, State, Labels }: ContainerInfo): boolean {
  const lives = markLives(Labels[LABEL.process] ?? '');
  if (lives === false) return false;
  return isYoung(Created * 1000) || (State === 'running' && lives === true);
}

function isYoung(since: number): boolean {
  return Date.now() - since < YOUNG_MS;
}

/** `momentary`: containers of no slot. */
async function findAll(parts: ExecutorParts): Promise<{ slots: Map<string, Found>; momentary: ContainerInfo[] }> {
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
    found.process = labels[LABEL.process];
    found.newest = Math.max(found.newest, createdAt);
    return found;
  };
  const momentary: ContainerInfo[] = [];
  for (const container of containers) {
    if (!SLOT_ID.test(container.Labels[LABEL.slot] ?? '')) {
      momentary.push(container);
      continue;
    }
    const slot = slotOf(container.Labels, container.Created * 1000);
    slot.containers.push(container);
    slot.owner ??= ownerOf(container.Labels, container.Names);
  }
  for (const network of networks) slotOf(network.Labels ?? {}, Date.parse(network.Created)).networks.push(network.Id);
  for (const volume of volumes) {
    const { CreatedAt } = volume as { CreatedAt?: string };
    slotOf(volume.Labels, CreatedAt === undefined ? 0 : Date.parse(CreatedAt)).volumes.push(volume.Name);
  }
  return { slots, momentary };
}

/** Folders of warm slots that are nobody's. */
async function reapFolders(parts: ExecutorParts, known: ReadonlySet<string>): Promise<void> {
  const names = await readdir(parts.options.folder).catch((): string[] => []);
  for (const name of names.filter((candidate) => !known.has(candidate))) {
    const folder = join(parts.options.folder, name);
    const maker = await readFile(join(folder, MAKER_FILE), 'latin1').catch(() => '');
    const youngFor = maker === '' ? UNMARKED_MS : YOUNG_FOLDER_MS;
    // One that is not there any more was claimed by a job meanwhile.
    const found = await stat(folder).catch(() => undefined);
    const isOld = found !== undefined && Date.now() - found.mtimeMs > youngFor;
    if (isOld || markLives(maker) === false) await rm(folder, { recursive: true, force: true });
  }
}
