import type Docker from 'dockerode';
import { randomBytes } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { engineCall, isGone, statusOf } from './engine.ts';

/**
 * Whether the engine sees this folder at the same path, so that it can be mounted into containers. Asked with a container
 * that is created and never started; `image` must be on the engine.
 */
export async function probeDisk(
  docker: Docker,
  folder: string,
  image: string,
  labels: Record<string, string>,
): Promise<boolean> {
  const name = `probe-${randomBytes(8).toString('hex')}`;
  const probe = join(folder, name);
  await mkdir(folder, { recursive: true });
  await writeFile(probe, name);
  try {
    return await engineCall('find out whether the engine sees our disk', () =>
      seesFile(docker, folder, name, image, labels),
    );
  } finally {
    await rm(probe, { force: true });
  }
}

async function seesFile(
  docker: Docker,
  folder: string,
  name: string,
  image: string,
  labels: Record<string, string>,
): Promise<boolean> {
  let container: Docker.Container;
  try {
    container = await docker.createContainer({
      Image: image,
      Entrypoint: ['/bin/true'],
      Cmd: [],
      Labels: labels,
      // Unlike `Binds`, this makes nothing on the engine's disk when the source is not there. The folder, not the file:
      // Podman cannot look at a file that is mounted by itself.
      HostConfig: { Mounts: [{ Type: 'bind', Source: folder, Target: '/impgem-probe', ReadOnly: true }] },
    });
  } catch (error) {
    if (statusOf(error) === 400) return false;
    throw error;
  }
  try {
    await container.infoArchive({ path: `/impgem-probe/${name}` });
    return true;
  } catch (error) {
    if (isGone(error)) return false;
    throw error;
  } finally {
    await container.remove({ force: true, v: true });
  }
}
