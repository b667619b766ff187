import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { JobContext } from '../executor.ts';
import { engineCall } from './engine.ts';
import { isRunning } from './engine-loss.ts';
import { LABEL, NESTED_STEP } from './labels.ts';
import type { ExecutorParts } from './parts.ts';
import type { Slot } from './slot.ts';
import { readSlotRecord } from './slot-record.ts';

/** The slot of a job that an earlier worker began, if what holds its network still runs. Starts nothing. */
export async function adoptSlot(parts: ExecutorParts, job: JobContext): Promise<Slot | undefined> {
  const record = readSlotRecord(job.folder);
  if (!record || JSON.stringify(record.owner) !== JSON.stringify(job.owner)) return undefined;
  if (!(await isRunning(parts, record.holderId))) return undefined;
  const { containers, volumes } = await listSlot(parts, record.id);
  const files = new Set(Object.values(record.volumes ?? {}));
  const { owner: _, ...kept } = record;
  return {
    ...kept,
    adopted: true,
    folder: job.folder,
    image: job.image,
    nextStep: await nextNumber(join(job.folder, 'docker', 'steps')),
    containers: new Set(containers.map(({ Id }) => Id).filter((id) => id !== record.holderId)),
    nestedId: containers.find(({ Labels }) => Labels[LABEL.step] === NESTED_STEP)?.Id,
    nestedVolumes: new Set(volumes.map(({ Name }) => Name).filter((name) => !files.has(name))),
  };
}

/** Adds what the engine was still making for the worker before when that died: nobody else would remove it soon. */
export async function addLateOnes(parts: ExecutorParts, slot: Slot): Promise<void> {
  const { containers, volumes } = await listSlot(parts, slot.id);
  for (const { Id } of containers) if (Id !== slot.holderId) slot.containers.add(Id);
  const files = new Set(Object.values(slot.volumes ?? {}));
  for (const { Name } of volumes) if (!files.has(Name)) slot.nestedVolumes.add(Name);
}

function listSlot({ docker }: ExecutorParts, id: string) {
  const filters = { label: [`${LABEL.slot}=${id}`] };
  return engineCall('list the containers of a job', async () => {
    const [containers, { Volumes: volumes }] = await Promise.all([
      docker.listContainers({ all: true, filters }),
      docker.listVolumes({ filters: JSON.stringify(filters) }),
    ]);
    return { containers, volumes };
  });
}

async function nextNumber(folder: string): Promise<number> {
  const names = await readdir(folder).catch((): string[] => []);
  return Math.max(-1, ...names.map(Number)) + 1;
}
