/** What all jobs of one sandbox executor share: bubblewrap, the copy of /etc, pipes, control groups. */
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Limits } from '../../runs/plan.ts';
import { findProgram, requireBubblewrap } from './bubblewrap.ts';
import { findCgroups, type Cgroups } from './cgroups.ts';
import { copyEtc } from './etc.ts';
import { createPipes, type Pipes } from './pipes.ts';
import { checkMounts, type HostRoot } from './root.ts';

export interface SandboxHost {
  bwrap: string;
  root: HostRoot;
  pipes: Pipes;
  cgroups?: Cgroups;
  prlimit?: string;
  limits: Limits;
  /** Folder of this process for what its steps share. */
  scratch: string;
}

export interface HostOptions {
  mounts: string[];
  hide?: string[];
  limits: Limits;
}

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
    root: { etc, mounts, hidden: options.hide ?? [] },
    pipes: createPipes(scratch),
    ...(cgroups === undefined ? {} : { cgroups }),
    ...(prlimit === undefined ? {} : { prlimit }),
    limits: options.limits,
    scratch,
  };
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
