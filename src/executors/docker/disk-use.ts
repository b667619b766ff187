/** What a job has on the engine's disk. */
import type Docker from 'dockerode';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ImpGemError, InfrastructureError, InputError } from '../../errors.ts';
import { engineCall, engineError, isGone, statusOf } from './engine.ts';
import { LABEL } from './labels.ts';
import { runOwnContainer } from './own-container.ts';
import type { ExecutorParts } from './parts.ts';
import type { Slot } from './slot.ts';

/** s. Open files are looked at in milliseconds, unless somebody opens millions of them. */
const SCAN_TIME = 10;
/** Inodes run out, too: a file counts as one block at least. */
const BLOCK = 4096;
const MEMORY = 1024 ** 3;
const TRIES = 5;

/**
 * Bytes: the folders or volumes of the job, volumes that its images ask for, what its containers (services and nested
 * engine among them) wrote elsewhere, and what they deleted and still have open. Volumes and what steps made private no
 * worker can read, and a step's own `du` may lie: a container of the operator's image looks. InputError `disk-use-hidden`
 * when they have so much open that nobody can look.
 */
export async function diskUse(parts: ExecutorParts, slot: Slot, signal: AbortSignal): Promise<number> {
  for (let tries = 1; ; tries += 1) {
    const found = await findSources(parts, slot);
    if (found.containers.length === 0) return 0;
    try {
      return found.bytes + (await measure(parts, slot, found, signal));
    } catch (error) {
      // A step ended between: what cannot be mounted is gone.
      if (!(error instanceof ImpGemError) || statusOf(error.cause) !== 400 || tries === TRIES) throw error;
    }
  }
}

interface Sources {
  containers: string[];
  /** Folders on the engine's disk. */
  sources: string[];
  /** Of layers that are no folders. */
  bytes: number;
}

async function findSources({ docker }: ExecutorParts, slot: Slot): Promise<Sources> {
  const listed = await engineCall('ask for the containers of a job', () =>
    docker.listContainers({ all: true, filters: { label: [`${LABEL.slot}=${slot.id}`] } }),
  );
  const containers = listed.map(({ Id }) => Id);
  const written = await Promise.all(containers.map((id) => writtenBy(docker, id, slot)));
  const sources = new Set([...(slot.volumes ? [] : foldersOf(slot)), ...written.flatMap(({ folders }) => folders)]);
  return { containers, sources: [...sources], bytes: written.reduce((all, { bytes }) => all + bytes, 0) };
}

/** As they are called now: a warm slot's were moved after its containers mounted them. */
function foldersOf({ folder }: Slot): string[] {
  const all = [join(folder, 'workspace'), join(folder, 'home'), join(folder, 'docker', 'steps')];
  return all.filter((one) => existsSync(one));
}

interface Written {
  folders: string[];
  bytes: number;
}

/** Its volumes and its layer; where the layer is no folder, its size by the engine's word. */
async function writtenBy(docker: Docker, id: string, slot: Slot): Promise<Written> {
  const container = docker.getContainer(id);
  try {
    const { Mounts, GraphDriver } = (await container.inspect()) as Inspected;
    const folders = Mounts.flatMap(({ Type, RW, Name, Source }) =>
      // We put the objects there, and no step can write to them.
      Type === 'volume' && RW && Name !== slot.volumes?.objects ? [Source] : [],
    );
    const layer = GraphDriver?.Data?.UpperDir;
    if (layer !== undefined) return { folders: [...folders, layer], bytes: 0 };
    const { SizeRw } = (await container.inspect({ size: true } as object)) as { SizeRw?: number };
    return { folders, bytes: Math.max(0, SizeRw ?? 0) };
  } catch (error) {
    if (isGone(error)) return { folders: [], bytes: 0 };
    throw engineError(error, 'ask what a container of a job wrote');
  }
}

interface Inspected {
  Mounts: { Type: string; RW: boolean; Name?: string; Source: string }[];
  /** Of overlay2, among others. Its word for the size would be the length of files, holes included. */
  GraphDriver?: { Data?: { UpperDir?: string } | null };
}

/**
 * $1: container ids, as a pattern; then folders. Prints the size and the number of files of each folder, then the size of all
 * open files which have no name left. Sizes in 1024 and in 512 bytes. A tmpfs is memory. Processes are known by their
 * control group.
 */
const MEASURE = `
ids=$1; shift
for each in du find grep sed sort stat timeout; do command -v $each >/dev/null || echo "it has no $each"; done
du -skx -- "$@" 2>/dev/null
du -sx --inodes -- "$@" 2>/dev/null | sed 's/^/files /'
folders=
for group in $(grep -lE "$ids" /proc/[0-9]*/cgroup 2>/dev/null); do folders="$folders \${group%cgroup}fd"; done
if [ -n "$folders" ]; then
  timeout ${SCAN_TIME} find -L $folders -maxdepth 1 -type f -links 0 -exec stat -Lc '%d %i %b %n' {} + 2>/dev/null
  case $? in 124|143) echo late ;; esac
fi | sort -u -k 1,2 | {
  total=0
  while read -r device inode blocks name; do
    case $device in late) total=unknown; break ;; esac
    case "$disks $memory " in
      *" $device "*) ;;
      *) if [ "$(stat -fLc %T "$name")" = tmpfs ]; then memory="$memory $device"; else disks="$disks $device"; fi ;;
    esac
    case "$disks " in *" $device "*) total=$((total + blocks)) ;; esac
  done
  echo "deleted $total"
}`;

async function measure(
  { docker, options, ownImage }: ExecutorParts,
  slot: Slot,
  { sources, containers }: Sources,
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
    host: {
      PidMode: 'host',
      // Unlike `Binds`, this makes nothing where there is nothing.
      Mounts: sources.map((Source, index) => ({ Type: 'bind', Source, Target: targets[index] ?? '', ReadOnly: true })),
      // Whatever a step puts in its way must not slow others.
      CpuShares: 512,
      Memory: MEMORY,
      PidsLimit: 64,
    },
    signal,
  });
  const deleted = /^deleted (\S+)$/m.exec(text)?.[1];
  if (deleted === 'unknown')
    throw new InputError('disk-use-hidden', 'so many files are open that nobody can see what they take on the disk');
  // Files come and go meanwhile, of which it complains; the sums count.
  const sizes = numbersOf(text, /^(\d+)\t\/impgem\/(\d+)$/gm);
  if (sizes.size < sources.length || deleted === undefined)
    throw new InfrastructureError(
      'disk-use-unknown',
      `${options.image} could not measure: ${text.trim().slice(0, 300)}`,
    );
  // Not every `du` counts them.
  const files = numbersOf(text, /^files (\d+)\t\/impgem\/(\d+)$/gm);
  const bytes = [...sizes].map(([index, size]) => Math.max(size * 1024, (files.get(index) ?? 0) * BLOCK));
  return bytes.reduce((all, one) => all + one, Number(deleted) * 512);
}

function numbersOf(text: string, line: RegExp): Map<string, number> {
  return new Map([...text.matchAll(line)].map(([, number, index]) => [index ?? '', Number(number)]));
}
