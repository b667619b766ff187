/**
 * The root of a sandbox, composed into a fresh tmpfs from what is known to be good; all else of the host (data folder,
 * sockets, homes, secrets) does not exist in it.
 *
 * What bubblewrap gives: namespaces of its own for user, pid, ipc, uts and control groups, no capability, no new
 * privileges, no way to make further user namespaces, no terminal. The network is the job's own (network.ts) or none; only
 * where a job can have none of its own, or the operator says so, it is the host's: a step can then reach what listens on
 * the host's loopback and on abstract unix sockets.
 */
import { existsSync, lstatSync, readlinkSync, realpathSync } from 'node:fs';
import { dirname, isAbsolute, normalize, sep } from 'node:path';
import { ImpGemError } from '../../errors.ts';
import { STEP_PATHS, type Task } from '../executor.ts';
import type { Limits } from '../../runs/plan.ts';

/** Top-level folders with the host's tools. A link (`/bin -> usr/bin`) stays one. */
const TOOLS = ['/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32', '/opt'];
/** Where a mount of the operator would shadow what a sandbox needs. */
const RESERVED = ['/proc', '/dev', '/sys', '/workspace', '/impgem'];
const RESERVED_ITSELF = ['/', '/etc', '/run', '/tmp', '/var', ...TOOLS];

/**
 * A worker that is root owns the host's files also in its sandboxes, and files below /proc ask for the owner, not for a
 * capability: core_pattern alone would give the host away, and a chmod there holds for the whole machine. So /proc is
 * read-only, and what its owner alone may read is covered.
 */
const PROC_HIDDEN_FILES = ['kcore', 'keys', 'mtrr', 'sched_debug', 'slabinfo', 'timer_list'];
const PROC_HIDDEN_FOLDERS = ['acpi', 'driver', 'dynamic_debug', 'scsi'];

const MIB = 1024 * 1024;
const TMP_BYTES = 2048 * MIB;
const SHM_BYTES = 256 * MIB;

/** Said on the command line, before all else: it holds nothing secret. */
export const NAMESPACES = [
  ...['--unshare-user', '--disable-userns', '--unshare-pid', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try'],
  // As outside; the network of a normal user's job has mapped it to root.
  ...['--uid', String(process.getuid?.() ?? 0), '--gid', String(process.getgid?.() ?? 0)],
  ...['--hostname', 'sandbox', '--new-session', '--die-with-parent', '--cap-drop', 'ALL'],
];

export interface HostRoot {
  /** Arguments that are the same for every step. */
  fixed: string[];
  /** The same, but later: on top of /tmp too. */
  mounts: string[];
  /** Real paths of all that is shown of the host. */
  shown: string[];
}

export interface StepRoot {
  workspace: string;
  home: string;
  step: string;
  objects?: string;
  /** Own hosts file of the job, once it has services. */
  hosts?: string;
  /** The resolv.conf of the job's network; undefined: the host's. */
  resolver?: string;
  network: Task['network'];
  limits: Limits;
}

/** Error `sandbox-mount-invalid` for a mount that is missing or would open or shadow what must not be. */
export function checkMounts(mounts: string[]): string[] {
  return mounts.map((mount) => {
    const path = normalize(mount).replace(/(?<=.)\/$/, '');
    const fault = faultOf(path);
    if (fault === undefined) return path;
    throw new ImpGemError('sandbox-mount-invalid', `Sandbox mount ${mount} ${fault}. Change IMPGEM_SANDBOX_MOUNTS.`);
  });
}

function faultOf(path: string): string | undefined {
  if (!isAbsolute(path)) return 'is not an absolute path';
  const inside = RESERVED.some((place) => path === place || path.startsWith(`${place}/`));
  if (inside || RESERVED_ITSELF.includes(path)) return 'is a place of the sandbox itself';
  return existsSync(path) ? undefined : 'does not exist';
}

/**
 * What all steps see of the host. `etc`: the copy of /etc; `mounts`: checked; `hidden`: folders that stay hidden although
 * they are below something that is shown.
 */
export function composeHost(etc: string, mounts: string[], hidden: string[]): HostRoot {
  const outside = mounts.filter((mount) => !mount.startsWith('/etc/'));
  const tools = TOOLS.filter((path) => existsSync(path));
  const shown = [...new Set([...tools, ...outside].map((path) => realpathSync(path)))];
  return {
    shown,
    fixed: [
      ...tools.flatMap(showTool),
      ...['--ro-bind', etc, '/etc', '--proc', '/proc', ...coverProc(), '--remount-ro', '/proc', '--dev', '/dev'],
      ...['--perms', '1777', '--size', String(SHM_BYTES), '--tmpfs', '/dev/shm', '--remount-ro', '/dev'],
      ...['--dir', '/run', '--dir', '/var', '--symlink', '../run', '/var/run', '--symlink', '../tmp', '/var/tmp'],
      ...['--dir', '/impgem'],
    ],
    mounts: [...outside.flatMap((mount) => ['--ro-bind', mount, mount]), ...hideFolders(hidden, shown)],
  };
}

/** Arguments of bubblewrap for one step. */
export function composeRoot(host: HostRoot, step: StepRoot): string[] {
  const tmp = Math.min(TMP_BYTES, Math.ceil((step.limits.memory ?? Infinity) / 2));
  return [
    ...host.fixed,
    ...(step.network === 'none' ? ['--unshare-net'] : []),
    ...(step.hosts === undefined ? [] : ['--ro-bind', step.hosts, '/etc/hosts']),
    ...(step.resolver === undefined ? showResolver() : ['--ro-bind', step.resolver, '/etc/resolv.conf']),
    ...['--perms', '1777', '--size', String(tmp), '--tmpfs', '/tmp'],
    ...host.mounts,
    ...hideFolders([dirname(dirname(step.workspace))], host.shown),
    ...['--bind', step.workspace, STEP_PATHS.workspace, '--bind', step.home, STEP_PATHS.home],
    ...['--bind', step.step, STEP_PATHS.step],
    ...(step.objects === undefined ? [] : ['--ro-bind', step.objects, STEP_PATHS.objects]),
    ...['--chdir', STEP_PATHS.workspace],
  ];
}

function showTool(path: string): string[] {
  return lstatSync(path).isSymbolicLink() ? ['--symlink', readlinkSync(path), path] : ['--ro-bind', path, path];
}

function coverProc(): string[] {
  const there = (name: string): boolean => existsSync(`/proc/${name}`);
  return [
    ...PROC_HIDDEN_FILES.filter(there).flatMap((name) => ['--ro-bind', '/dev/null', `/proc/${name}`]),
    ...PROC_HIDDEN_FOLDERS.filter(there).flatMap((name) => [
      '--perms',
      '0555',
      '--size',
      '4096',
      '--tmpfs',
      `/proc/${name}`,
    ]),
  ];
}

/** The machine's resolver as it is now; often a link into a folder that the sandbox does not have. */
function showResolver(): string[] {
  const path = '/etc/resolv.conf';
  return existsSync(path) ? ['--ro-bind', realpathSync(path), path] : [];
}

function hideFolders(folders: string[], shown: string[]): string[] {
  const real = folders.filter((folder) => existsSync(folder)).map((folder) => realpathSync(folder));
  const inside = real.filter((folder) => shown.some((path) => folder.startsWith(path + sep)));
  return inside.flatMap((folder) => ['--perms', '0555', '--size', '4096', '--tmpfs', folder]);
}
