/**
 * Control groups of steps: memory, processes and CPU of a whole process tree, with version 1, version 2, or a mixture of
 * both. Groups are made below our own, so limits of the operator (systemd, an outer container) stay in force.
 */
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { InfrastructureError, messageOf } from '../../errors.ts';
import type { Limits } from '../../runs/plan.ts';

export type Controller = 'memory' | 'pids' | 'cpu';

export interface StepGroup {
  /** Moves a process into the group; what it starts from then on is in it too. */
  add: (pid: number) => Promise<void>;
  /** How many processes of the group the kernel has killed for memory so far. */
  memoryKills: () => number;
  /** Kills what is in it and removes it. */
  remove: () => Promise<void>;
}

export interface Cgroups {
  controllers: Controller[];
  version: 1 | 2;
  /** A group for one step; `name` is unique and a plain file name. */
  create: (name: string, limits: Limits) => StepGroup;
  /** Names of groups that exist. */
  list: () => string[];
  remove: (name: string) => Promise<void>;
}

const CONTROLLERS: Controller[] = ['memory', 'pids', 'cpu'];
/** All our groups have it, so that a reaper never touches another's. */
const PREFIX = 'impgem.';
/** Where a process goes that was alone in its group. */
const ASIDE = 'impgem-worker';
const CPU_PERIOD_US = 100_000;

interface Base {
  folder: string;
  controllers: Controller[];
  version: 1 | 2;
}

let found: { cgroups: Cgroups | undefined } | undefined;

/**
 * Undefined where we may not make groups (a normal user without delegation). Looked for once: to find them may move this
 * process, and what it has started since (the network of a job) is then in the way of another look.
 */
export function findCgroups(): Cgroups | undefined {
  found ??= { cgroups: lookForCgroups() };
  return found.cgroups;
}

function lookForCgroups(): Cgroups | undefined {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8');
  const own = readFileSync('/proc/self/cgroup', 'utf8');
  const bases = basesOf(mounts, own).filter((base) => isUsable(base));
  const [first] = bases;
  if (first === undefined) return undefined;
  const remove = (name: string): Promise<void> => removeGroups(bases.map((base) => join(base.folder, PREFIX + name)));
  return {
    version: first.version,
    controllers: CONTROLLERS.filter((controller) => bases.some((base) => base.controllers.includes(controller))),
    create: (name, limits) => {
      const wanted = bases.filter((base) => base.controllers.some((controller) => limits[controller] !== undefined));
      const groups = wanted.map((base) => ({ base, folder: join(base.folder, PREFIX + name) }));
      try {
        for (const group of groups) createGroup(group.base, group.folder, limits);
      } catch (error) {
        throw new InfrastructureError('sandbox-limits', `Cannot set the limits of a step: ${messageOf(error)}`, {
          cause: error,
        });
      }
      return {
        // Not synchronous: the kernel may take many milliseconds for it.
        add: async (pid) => {
          for (const { folder } of groups) await writeFile(join(folder, 'cgroup.procs'), String(pid));
        },
        memoryKills: () => groups.reduce((sum, group) => sum + memoryKills(group.base, group.folder), 0),
        remove: () => remove(name),
      };
    },
    list: () => {
      const folders = bases.flatMap((base) => readdirSync(base.folder));
      return [...new Set(folders.filter((name) => name.startsWith(PREFIX)))].map((name) => name.slice(PREFIX.length));
    },
    remove,
  };
}

/** Our own group in each hierarchy that has a controller that we use. */
export function basesOf(mountinfo: string, own: string): Base[] {
  const paths = own.split('\n').flatMap((line) => {
    const [, names, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    return names === undefined || path === undefined ? [] : [{ names: names.split(','), path }];
  });
  return mountinfo.split('\n').flatMap((line): Base[] => {
    const [left = '', right = ''] = line.split(' - ');
    const [, , , root = '/', point = ''] = left.split(' ');
    const [type = '', , options = ''] = right.split(' ');
    const folderOf = (path: string): string => {
      const inside = root !== '/' && path.startsWith(root) ? path.slice(root.length) : path;
      const folder = resolve(point, `./${inside}`);
      return existsSync(folder) ? folder : point;
    };
    if (type === 'cgroup') {
      const controllers = CONTROLLERS.filter((name) => options.split(',').includes(name));
      const path = paths.find((entry) => controllers.some((name) => entry.names.includes(name)))?.path;
      return path === undefined ? [] : [{ folder: folderOf(path), controllers, version: 1 }];
    }
    if (type !== 'cgroup2') return [];
    const path = paths.find((entry) => entry.names[0] === '')?.path ?? '/';
    // Who started us may have stepped aside before.
    const folder = folderOf(path.replace(new RegExp(`(/${ASIDE})+$`), '') || '/');
    const controllers = CONTROLLERS.filter((name) => wordsOf(join(folder, 'cgroup.controllers')).includes(name));
    return controllers.length === 0 ? [] : [{ folder, controllers, version: 2 }];
  });
}

function wordsOf(file: string): string[] {
  return existsSync(file) ? readFileSync(file, 'utf8').trim().split(/\s+/) : [];
}

function isUsable(base: Base): boolean {
  try {
    accessSync(base.folder, constants.W_OK);
    if (base.version === 2) delegate(base);
    const probe = join(base.folder, `${PREFIX}probe-${process.pid}`);
    mkdirSync(probe);
    rmdirSync(probe);
    return true;
  } catch {
    return false;
  }
}

/** Version 2 gives controllers to children only of a group without processes: if we are alone in ours, we step aside. */
function delegate(base: Base): void {
  const control = join(base.folder, 'cgroup.subtree_control');
  const missing = base.controllers.filter((name) => !wordsOf(control).includes(name));
  if (missing.length === 0) return;
  const processes = wordsOf(join(base.folder, 'cgroup.procs')).filter(Boolean);
  if (processes.length === 1 && processes[0] === String(process.pid)) {
    const aside = join(base.folder, ASIDE);
    mkdirSync(aside, { recursive: true });
    writeFileSync(join(aside, 'cgroup.procs'), String(process.pid));
  }
  writeFileSync(control, missing.map((name) => `+${name}`).join(' '));
}

function createGroup(base: Base, folder: string, limits: Limits): void {
  mkdirSync(folder);
  const set = (file: string, value: string | number): void => writeFileSync(join(folder, file), String(value));
  const has = (file: string): boolean => existsSync(join(folder, file));
  if (limits.memory !== undefined && base.controllers.includes('memory')) {
    set(base.version === 1 ? 'memory.limit_in_bytes' : 'memory.max', limits.memory);
    // Without this a step over its limit swaps the machine to a halt instead of ending.
    if (base.version === 1 && has('memory.memsw.limit_in_bytes')) set('memory.memsw.limit_in_bytes', limits.memory);
    if (base.version === 2 && has('memory.swap.max')) set('memory.swap.max', 0);
  }
  if (limits.pids !== undefined && base.controllers.includes('pids')) set('pids.max', limits.pids);
  if (limits.cpu !== undefined && base.controllers.includes('cpu')) {
    const quota = Math.max(1000, Math.round(limits.cpu * CPU_PERIOD_US));
    if (base.version === 2) set('cpu.max', `${quota} ${CPU_PERIOD_US}`);
    else if (has('cpu.cfs_quota_us')) set('cpu.cfs_quota_us', quota);
  }
}

function memoryKills(base: Base, folder: string): number {
  if (!base.controllers.includes('memory')) return 0;
  const text = readFileSync(join(folder, base.version === 1 ? 'memory.oom_control' : 'memory.events'), 'utf8');
  return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
}

async function removeGroups(folders: string[]): Promise<void> {
  for (const folder of folders) {
    // A process that was killed leaves its group a moment after.
    for (let tries = 0; existsSync(folder) && !removeGroup(folder); tries += 1) {
      if (tries === 1000) throw new InfrastructureError('sandbox-limits', `Cannot remove the control group ${folder}`);
      for (const pid of processesOf(folder)) kill(pid);
      await delay(2);
    }
  }
}

function removeGroup(folder: string): boolean {
  try {
    rmdirSync(folder);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EBUSY') return false;
    if (code === 'ENOENT') return true;
    throw error;
  }
}

function processesOf(folder: string): number[] {
  try {
    return readFileSync(join(folder, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
