/** What a job has on the engine's disk. */
import type Docker from 'dockerode';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { InfrastructureError } from '../../errors.ts';
import { engineCall } from './engine.ts';
import { LABEL } from './labels.ts';
import { runOwnContainer } from './own-container.ts';
import type { ExecutorParts } from './parts.ts';
import type { Slot } from './slot.ts';

/**
 * Bytes: the folders or volumes of the job, volumes that its images ask for, what its containers (services and nested
 * engine among them) wrote elsewhere, and what they deleted and still have open. Volumes and what steps made private no
 * worker can read, and a step's own `du` may lie: a container of the operator's image looks.
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
  const ids = containers.map(({ Id }) => Id);
  return layers.reduce((all, one) => all + one, 0) + (await measure(parts, slot, [...own], ids, signal));
}

/** As they are called now: a warm slot's were moved after its containers mounted them. */
function foldersOf({ folder }: Slot): string[] {
  const all = [join(folder, 'workspace'), join(folder, 'home'), join(folder, 'docker', 'steps')];
  return all.filter((one) => existsSync(one));
}

/**
 * $1: container ids, as a pattern; then folders. Prints the size of each folder, then that of all files which have no name
 * left: in 1024 and in 512 bytes. Files of a tmpfs are memory. Processes are known by their control group.
 */
const MEASURE = `
ids=$1; shift
du -skx -- "$@"
for group in $(grep -lE "$ids" /proc/[0-9]*/cgroup 2>/dev/null); do
  find "\${group%cgroup}fd" -type l -exec stat -Lc '%h %d %i %b %n' {} + 2>/dev/null
done | grep '^0 ' | sort -u -k 2,3 | {
  total=0
  while read -r none device inode blocks name; do
    case "$disks $memory " in
      *" $device "*) ;;
      *) if [ "$(stat -fLc %T "$name")" = tmpfs ]; then memory="$memory $device"; else disks="$disks $device"; fi ;;
    esac
    case "$disks " in *" $device "*) total=$((total + blocks)) ;; esac
  done
  echo "deleted $total"
}`;

/** `sources`: absolute paths of folders, names of volumes. */
async function measure(
  { docker, options, ownImage }: ExecutorParts,
  slot: Slot,
  sources: string[],
  containers: string[],
  signal: AbortSignal,
): Promise<number> {
  const targets = sources.map((_, index) => `/impgem/${index}`);
  const { text } = await runOwnContainer(docker, {
    what: 'measure the files of a job',
    image: await ownImage(),
    command: ['/bin/sh', '-c', MEASURE, 'sh', containers.join('|'), ...targets],
    // Whoever adopts the job removes it, too.
    labels: slot.labels,
    // To see private files, and what another container's processes have open.
    capabilities: ['DAC_OVERRIDE', 'SYS_PTRACE'],
    host: { PidMode: 'host', Mounts: sources.map((source, index) => readOnly(source, targets[index] ?? '')) },
    signal,
  });
  // Files come and go meanwhile, of which it complains; the sums count.
  const sums = [...text.matchAll(/^(\d+)\t\/impgem\/\d+$/gm)].map(([, size]) => Number(size) * 1024);
  const deleted = /^deleted (\d+)$/m.exec(text)?.[1];
  if (sums.length < sources.length || deleted === undefined)
    throw new InfrastructureError(
      'disk-use-unknown',
      `${options.image} could not measure: ${text.trim().slice(0, 300)}`,
    );
  return sums.reduce((all, one) => all + one, Number(deleted) * 512);
}

function readOnly(Source: string, Target: string): Docker.MountSettings {
  if (Source.startsWith('/')) return { Type: 'bind', Source, Target, ReadOnly: true };
  const VolumeOptions = { NoCopy: true, Labels: {}, DriverConfig: { Name: '', Options: {} } };
  return { Type: 'volume', Source, Target, ReadOnly: true, VolumeOptions };
}
