import { basename, dirname } from 'node:path';
import { InfrastructureError } from '../../errors.ts';
import { removeTree } from '../remove-tree.ts';
import { engineCall } from './engine.ts';
import { commonLabels } from './labels.ts';
import type { ExecutorParts } from './parts.ts';

const MOUNT = '/impgem/folders';

/**
 * Removes a job's folder. What its steps made as other users only root may remove: where this worker is not root, a
 * container of the operator's image does it, which sees nothing but the folders of jobs.
 */
export async function removeFolder(parts: ExecutorParts, folder: string): Promise<void> {
  try {
    await removeTree(folder);
  } catch {
    await removeAsRoot(parts, folder);
  }
}

async function removeAsRoot({ docker, options, images }: ExecutorParts, folder: string): Promise<void> {
  await images.ensure(options.image, () => undefined);
  const container = await engineCall('create a container that removes files', () =>
    docker.createContainer({
      Image: options.image,
      Entrypoint: ['rm', '-rf', '--', `${MOUNT}/${basename(folder)}`],
      Cmd: [],
      User: '0',
      WorkingDir: '/',
      Labels: commonLabels(options),
      HostConfig: {
        NetworkMode: 'none',
        Binds: [`${dirname(folder)}:${MOUNT}`],
        CapDrop: ['ALL'],
        CapAdd: ['DAC_OVERRIDE', 'FOWNER'],
        SecurityOpt: ['no-new-privileges'],
        LogConfig: { Type: 'none', Config: {} },
      },
    }),
  );
  try {
    const code = await engineCall('remove the files of a job', async () => {
      await container.start();
      return ((await container.wait()) as { StatusCode: number }).StatusCode;
    });
    if (code !== 0) throw new InfrastructureError('folder-stays', `The folder ${folder} could not be removed`);
  } finally {
    await container.remove({ force: true, v: true }).catch(() => undefined); // The reaper finds it by its label.
  }
}
