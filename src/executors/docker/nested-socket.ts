/** What a job's nested engine and the steps that ask for it share: a socket in a volume. */
import type { Task } from '../executor.ts';
import { engineCall } from './engine.ts';
import type { ExecutorParts } from './parts.ts';
import type { Slot } from './slot.ts';

const FOLDER = '/impgem/docker';
export const NESTED_SOCKET = `${FOLDER}/docker.sock`;
export const NESTED_HOST = `unix://${NESTED_SOCKET}`;

/** What a step with `docker: true` sees of the nested engine. */
export async function nestedSocketBind(parts: ExecutorParts, slot: Slot): Promise<string> {
  return `${await createNestedVolume(parts, slot, 'socket')}:${FOLDER}`;
}

/** The task with what its programs need to find the nested engine; the pipeline's own DOCKER_HOST stands. */
export function withNestedHost(task: Task): Task {
  return { ...task, env: { DOCKER_HOST: NESTED_HOST, ...task.env } };
}

/** Made before anything mounts it, so that it bears our labels. */
export async function createNestedVolume(parts: ExecutorParts, slot: Slot, kind: 'socket' | 'images'): Promise<string> {
  const Name = `impgem-${slot.id}-nested-${kind}`;
  slot.nestedVolumes.add(Name);
  await engineCall('create a volume of a nested engine', () =>
    parts.docker.createVolume({ Name, Labels: slot.labels }),
  );
  return Name;
}
