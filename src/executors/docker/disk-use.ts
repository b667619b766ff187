/** What a job has on the engine's disk. */
import type Docker from 'dockerode';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { InfrastructureError } from '../../errors.ts';
import { engineCall } from './engine.ts';
import { commonLabels, LABEL } from './labels.ts';
import { runOwnContainer } from './own-container.ts';
import type { ExecutorParts } from './parts.ts';
import type { Slot } from './slot.ts';

/**
 * Bytes: the folders or volumes of the job, volumes that its images ask for, and what its containers (services and nested
 * engine among them) wrote elsewhere. Volumes and what steps made private no worker can read, and a step's own `du` may
 * lie: a container of the operator's image looks. What is deleted and still open is not seen.
 */
export async function diskUse(parts: ExecutorParts, slot: Slot, signal: AbortSignal): Promise<number> {
  const containers = await engineCall('ask for the size of the containers of a job', () =>
    parts.docker.listContainers({
      all: true,
      size: true,
      filters: { label: [`${LABEL.slot}=${slot.id}`] },
    } as Docker.ContainerListOptions),
  );
  const layers = containers.map((one) => Math.max(0, (one as { SizeRw?: number }).SizeRw ?? 0));
  const volumes = containers.flatMap(({ Mounts }) =>
    Mounts.flatMap(({ Type, RW, Name }) => (Type === 'volume' && RW && Name !== undefined ? [Name] : [])),
  );
  const own = new Set([...volumes, ...(slot.volumes ? [slot.volumes.workspace, slot.volumes.home] : foldersOf(slot))]);
  // We put it there, and no step can write to it.
  if (slot.volumes) own.delete(slot.volumes.objects);
  return layers.reduce((all, one) => all + one, 0) + (await sizeOf(parts, [...own], signal));
}

/** As they are called now: a warm slot's were moved after its containers mounted them. */
function foldersOf({ folder }: Slot): string[] {
  const all = [join(folder, 'workspace'), join(folder, 'home'), join(folder, 'docker', 'steps')];
  return all.filter((one) => existsSync(one));
}

/** `sources`: absolute paths of folders, names of volumes. */
async function sizeOf(
  { docker, options, ownImage }: ExecutorParts,
  sources: string[],
  signal: AbortSignal,
): Promise<number> {
  const targets = sources.map((_, index) => `/impgem/${index}`);
  const { text } = await runOwnContainer(docker, {
    what: 'measure the files of a job',
    image: await ownImage(),
    command: ['du', '-skx', '--', ...targets],
    labels: commonLabels(options),
    capabilities: ['DAC_OVERRIDE'],
    host: {
      Mounts: sources.map((source, index) => ({
        Type: source.startsWith('/') ? 'bind' : 'volume',
        Source: source,
        Target: targets[index] ?? '',
        ReadOnly: true,
        ...(source.startsWith('/') ? {} : { VolumeOptions: { NoCopy: true, Labels: {}, DriverConfig: NO_DRIVER } }),
      })),
    },
    signal,
  });
  // Files come and go meanwhile, of which it complains; the sums count.
  const sums = [...text.matchAll(/^(\d+)\t\/impgem\/\d+$/gm)].map(([, size]) => Number(size) * 1024);
  if (sums.length < sources.length)
    throw new InfrastructureError('disk-use-unknown', `\`du\` of ${options.image} said: ${text.trim().slice(0, 300)}`);
  return sums.reduce((all, one) => all + one, 0);
}

const NO_DRIVER = { Name: '', Options: {} };
