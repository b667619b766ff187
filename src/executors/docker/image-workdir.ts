/**
 * The working directory of an image, for a service that runs the image's own command. It is the image's word: one such as
 * /proc/self/fd/8, by itself or through a link, has led out of containers (CVE-2024-21626).
 */
import { posix } from 'node:path';
import type Docker from 'dockerode';
import { InputError } from '../../errors.ts';
import { engineCall, isGone } from './engine.ts';

/** Folders of which the kernel, not the image, says what is in them. */
const OF_KERNEL = /^\/(proc|dev|sys)(\/|$)/;

/** Absolute, without `..`. InputError `image-workdir` for one in a folder of the kernel's. */
export async function readWorkdir(docker: Docker, image: string): Promise<string> {
  const { Config } = await engineCall(`look for the image ${image}`, () => docker.getImage(image).inspect());
  const workdir = posix.resolve('/', Config.WorkingDir || '/');
  refuseKernels(workdir, workdir, image);
  return workdir;
}

/**
 * For a container that was created and does not run: InputError `image-workdir` when links lead from `workdir` to a
 * folder of the kernel's. Nobody else may be able to write to what the container mounts.
 */
export async function checkWorkdir(docker: Docker, containerId: string, workdir: string, image: string): Promise<void> {
  let real = '/';
  for (const name of workdir.split('/').filter(Boolean)) {
    const path = posix.join(real, name);
    real = (await linkTarget(docker, containerId, path)) ?? path;
    refuseKernels(real, workdir, image);
  }
}

function refuseKernels(path: string, workdir: string, image: string): void {
  if (!OF_KERNEL.test(path)) return;
  throw new InputError(
    'image-workdir',
    `The image ${image} has the working directory ${workdir}, which is in /proc, /dev or /sys: give the service a \`run\``,
  );
}

/** Where the link leads at last, in the container; undefined when it is none. */
async function linkTarget(docker: Docker, containerId: string, path: string): Promise<string | undefined> {
  return engineCall('look for the working directory of a service', async () => {
    try {
      const { headers } = (await docker.getContainer(containerId).infoArchive({ path })) as {
        headers: Record<string, string>;
      };
      const text = Buffer.from(headers['x-docker-container-path-stat'] ?? '', 'base64').toString();
      const { linkTarget } = JSON.parse(text) as { linkTarget: string };
      return linkTarget === '' ? undefined : posix.resolve('/', linkTarget);
    } catch (error) {
      if (isGone(error)) return undefined; // The engine makes it.
      throw error;
    }
  });
}
