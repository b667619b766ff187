/** What all jobs of one sandbox executor share: bubblewrap, the copy of /etc, pipes, control groups. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Limits } from '../../runs/plan.ts';
import { findProgram, requireBubblewrap } from './bubblewrap.ts';
import { findCgroups, type Cgroups } from './cgroups.ts';
import { copyEtc } from './etc.ts';
import { createPipes, type Pipes } from './pipes.ts';
import { checkMounts, composeHost, type HostRoot } from './root.ts';

export interface SandboxHost {
  bwrap: string;
  root: HostRoot;
  /** The copy of /etc. */
  etc: string;
  pipes: Pipes;
  cgroups?: Cgroups;
  prlimit?: string;
  limits: Limits;
  /** Descriptors that our parent left open for our children. */
  inherited: number[];
  /** Folder of this process for what its steps share. */
  scratch: string;
}

export interface HostOptions {
  mounts: string[];
  hide?: string[];
  limits: Limits;
}

/** Descriptors up to here are given to bubblewrap by us. */
const FIRST_OWN = 5;
const SCRATCH = 'impgem-sandbox-';

export async function openHost(options: HostOptions): Promise<SandboxHost> {
  const bwrap = requireBubblewrap();
  const mounts = checkMounts(options.mounts);
  const scratch = await mkdtemp(join(tmpdir(), `${SCRATCH}${process.pid}-`));
  const etc = join(scratch, 'etc');
  await copyEtc(
    etc,
    mounts.filter((mount) => mount.startsWith('/etc/')),
  );
  const cgroups = findCgroups();
  const prlimit = findProgram('prlimit');
  return {
    bwrap,
    root: composeHost(etc, mounts, options.hide ?? []),
    etc,
    pipes: createPipes(scratch),
    ...(cgroups === undefined ? {} : { cgroups }),
    ...(prlimit === undefined ? {} : { prlimit }),
    limits: options.limits,
    inherited: inheritedDescriptors(),
    scratch,
  };
}

/** Node closes what it opens itself on exec; what we were started with is passed on, above the three and our own. */
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
    .filter((fd) => fd > FIRST_OWN && passedOn(fd))
    .toSorted((a, b) => a - b);
}

export async function closeHost(host: SandboxHost): Promise<void> {
  await rm(host.scratch, { recursive: true, force: true });
}

/** Removes the folders of processes that died without removing them. */
export async function removeDeadScratch(): Promise<number> {
  const names = (await readdir(tmpdir())).filter((name) => name.startsWith(SCRATCH));
  const dead = names.filter((name) => !existsSync(`/proc/${name.slice(SCRATCH.length).split('-')[0] ?? ''}`));
  await Promise.all(dead.map((name) => rm(join(tmpdir(), name), { recursive: true, force: true })));
  return dead.length;
}
