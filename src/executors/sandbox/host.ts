/** What all jobs of one sandbox executor share: bubblewrap, the copy of /etc, pipes, control groups. */
import { accessSync, constants, existsSync, openSync, readdirSync, readFileSync, statfsSync } from 'node:fs';
import { mkdtemp, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Limits } from '../../runs/plan.ts';
import { removeTree } from '../remove-tree.ts';
import { findProgram, requireBubblewrap } from './bubblewrap.ts';
import { findCgroups } from './cgroups.ts';
import { copyEtc } from './etc.ts';
import { openNetworks, type NetworkChoice, type NetworkUse } from './networks.ts';
import { createPipes, type Pipes } from './pipes.ts';
import { checkMounts, composeHost, type HostRoot } from './root.ts';
import { createStarter, type Starter } from './starter.ts';
import { createStarters, type Starters } from './starters.ts';

export interface SandboxHost {
  root: HostRoot;
  /** The copy of /etc. */
  etc: string;
  pipes: Pipes;
  starters: Starters;
  network: NetworkUse;
  /** Sets limits of a process where there are no control groups. */
  prlimit: string | undefined;
  limits: Limits;
  /** Folder of this process for what its steps share. */
  scratch: string;
}

export interface HostOptions {
  mounts: string[];
  hide?: string[];
  limits: Limits;
  network?: NetworkChoice;
}

const SCRATCH = 'impgem-sandbox-';

export async function openHost(options: HostOptions): Promise<SandboxHost> {
  const bwrap = requireBubblewrap();
  const mounts = checkMounts(options.mounts);
  const scratch = await mkdtemp(join(scratchParent(), `${SCRATCH}${process.pid}-`));
  const etc = join(scratch, 'etc');
  const inEtc = mounts.filter((mount) => mount.startsWith('/etc/'));
  const [network] = await Promise.all([openNetworks(options.network ?? 'auto', scratch), copyEtc(etc, inEtc)]);
  return {
    root: composeHost(etc, mounts, options.hide ?? []),
    etc,
    pipes: createPipes(scratch),
    prlimit: findProgram('prlimit'),
    starters: createStarters(starterFactory(bwrap)),
    network,
    limits: options.limits,
    scratch,
  };
}

/** What a container is given is less (64 MiB): one step that hands on too much would fill it for all others. */
const ROOMY = 1024 ** 3;

/** In memory where that can be: pipes and hand-over files come and go with each step, and a busy disk makes them wait. */
function scratchParent(): string {
  try {
    accessSync('/dev/shm', constants.W_OK | constants.X_OK);
    const { blocks, bsize } = statfsSync('/dev/shm');
    return blocks * bsize < ROOMY ? tmpdir() : '/dev/shm';
  } catch {
    return tmpdir();
  }
}

/** In this process, which may have several executors. */
let groupsMade = 0;

function starterFactory(bwrap: string): (limits: Limits) => Promise<Starter> {
  const cgroups = findCgroups();
  const nsenter = findProgram('nsenter');
  const inherited = inheritedDescriptors();
  const devNull = openSync('/dev/null', 'r+');
  return (limits) => {
    groupsMade += 1;
    const group = cgroups?.create(`${process.pid}-${groupsMade}`, limits);
    return createStarter({ bwrap, nsenter, group, inherited, devNull });
  };
}

/** Node closes what it opens itself on exec; what we were started with is passed on. */
function inheritedDescriptors(): number[] {
  const CLOSE_ON_EXEC = 0o2000000;
  const passedOn = (fd: number): boolean => {
    try {
      const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '0';
      return (parseInt(flags, 8) & CLOSE_ON_EXEC) === 0;
    } catch {
      return false; // The descriptor by which the list was read.
    }
  };
  return readdirSync('/proc/self/fd')
    .map(Number)
    .filter((fd) => fd > 2 && passedOn(fd))
    .toSorted((a, b) => a - b);
}

export async function closeHost(host: SandboxHost): Promise<void> {
  await Promise.all([host.starters.close(), host.network.networks?.close()]);
  await removeTree(host.scratch);
}

/** Removes what processes left that died without removing it: control groups and folders, both named by process. */
export async function removeRemains(): Promise<number> {
  const isDead = (name: string): boolean => !existsSync(`/proc/${name.split('-')[0] ?? ''}`);
  const cgroups = findCgroups();
  const groups = (cgroups?.list() ?? []).filter((name) => /^\d+-\d+$/.test(name) && isDead(name));
  for (const name of groups) await cgroups?.remove(name);
  const parent = scratchParent();
  const names = (await readdir(parent)).filter((name) => name.startsWith(SCRATCH));
  const dead = names.filter((name) => isDead(name.slice(SCRATCH.length)));
  await Promise.all(dead.map((name) => removeTree(join(parent, name))));
  return groups.length + dead.length;
}
