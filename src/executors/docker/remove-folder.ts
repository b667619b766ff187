import { basename, dirname } from 'node:path';
import { InfrastructureError } from '../../errors.ts';
import { removeTree } from '../remove-tree.ts';
import { commonLabels } from './labels.ts';
import { runOwnContainer } from './own-container.ts';
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

async function removeAsRoot({ docker, options, ownImage }: ExecutorParts, folder: string): Promise<void> {
  const { code } = await runOwnContainer(docker, {
    what: 'remove the files of a job',
    image: await ownImage(),
    command: ['rm', '-rf', '--', `${MOUNT}/${basename(folder)}`],
    labels: commonLabels(options),
    capabilities: ['DAC_OVERRIDE', 'FOWNER'],
    host: { Binds: [`${dirname(folder)}:${MOUNT}`] },
  });
  if (code !== 0) throw new InfrastructureError('folder-stays', `The folder ${folder} could not be removed`);
}
