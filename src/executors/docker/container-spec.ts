/** What every container of a job may and may not do: the isolation, in one place. docs/isolation.md says why. */
import type Docker from 'dockerode';
import type { Limits } from '../../runs/plan.ts';
import { STEP_PATHS } from '../executor.ts';
import type { EngineKind } from './engine-kind.ts';
import { CONTROL } from './entry.ts';

/** What a package manager inside a container needs; nothing that reaches the host or the network below TCP and UDP. */
export const CAPABILITIES = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'NET_BIND_SERVICE',
  'SETFCAP',
  'SETGID',
  'SETUID',
];

export interface ContainerSpec {
  engine: EngineKind;
  image: string;
  /** Absent: the image's own command. */
  entrypoint?: readonly string[];
  /** Default: `/`. One of the image's choice must have been looked at (image-workdir.ts). */
  workdir?: string;
  env?: Record<string, string>;
  /** Names of variables of the image that are not to be there, unless `env` has them. */
  unset?: readonly string[];
  /** Names in a network that is no container's. */
  aliases?: string[];
  labels: Record<string, string>;
  /** `container:ID`, `none`, or the name of a network. */
  network: string;
  limits: Limits;
  binds: string[];
  stdin: boolean;
  /** `none`: the output leaves by another way. */
  log: 'none' | 'kept';
  /** Bytes that the engine keeps of a log. */
  logLimit?: number;
  user?: string;
}

const SERVICE_LOG_LIMIT = 512 * 1024 * 1024;

export function containerOptions(spec: ContainerSpec): Docker.ContainerCreateOptions {
  const { memory, cpu, pids } = spec.limits;
  const { env = {}, unset = [] } = spec;
  const podman = spec.engine.name === 'Podman';
  return {
    Image: spec.image,
    ...(spec.entrypoint === undefined ? {} : { Entrypoint: [...spec.entrypoint], Cmd: [] }),
    // A name alone takes the image's variable away, for what is run in the container later as well. Podman leaves it then.
    Env: [
      ...unset.filter((name) => env[name] === undefined).map((name) => (podman ? `${name}=` : name)),
      ...Object.entries(env).map(([name, value]) => `${name}=${value}`),
    ],
    // Never the image's unseen: a WORKDIR such as /proc/self/fd/8 has led out of containers (CVE-2024-21626).
    WorkingDir: spec.workdir ?? '/',
    Labels: spec.labels,
    Healthcheck: { Test: ['NONE'] },
    OpenStdin: spec.stdin,
    StdinOnce: spec.stdin,
    // An engine that starts again ends what outlived it: at once, not after ten seconds of asking a shell that does not listen.
    StopSignal: 'SIGKILL',
    ...(spec.user === undefined ? {} : { User: spec.user }),
    ...(spec.aliases === undefined
      ? {}
      : { NetworkingConfig: { EndpointsConfig: { [spec.network]: { Aliases: spec.aliases } } } }),
    HostConfig: {
      NetworkMode: spec.network,
      Binds: spec.binds,
      LogConfig:
        spec.log === 'none' ? { Type: 'none', Config: {} } : keptLog(spec.engine, spec.logLimit ?? SERVICE_LOG_LIMIT),
      CapDrop: ['ALL'],
      CapAdd: CAPABILITIES,
      SecurityOpt: ['no-new-privileges'],
      IpcMode: 'private',
      ...(memory === undefined ? {} : { Memory: memory, MemorySwap: memory }),
      ...(cpu === undefined ? {} : { NanoCpus: Math.round(cpu * 1e9) }),
      ...(pids === undefined ? {} : { PidsLimit: pids }),
    },
  };
}

/** One file: with more, the first bytes would go when it is full, and a reader could not begin there. */
export function keptLog(engine: EngineKind, bytes: number): { Type: string; Config: Record<string, string> } {
  // Another kind of log says with each line when it came, and so is full sooner.
  const size = engine.keptLog === 'local' ? bytes : bytes * 4;
  return { Type: engine.keptLog, Config: { 'max-size': `${size}`, 'max-file': '1', compress: 'false' } };
}

export interface MountedFolders {
  workspace: string;
  home: string;
  /** Absent: folders of the container itself. */
  step?: string;
  control?: string;
  objects?: string;
}

export function bindsOf(folders: MountedFolders): string[] {
  return [
    bindOf(folders.workspace, STEP_PATHS.workspace),
    bindOf(folders.home, STEP_PATHS.home),
    ...(folders.step === undefined ? [] : [bindOf(folders.step, STEP_PATHS.step)]),
    ...(folders.control === undefined ? [] : [bindOf(folders.control, CONTROL)]),
    ...(folders.objects === undefined ? [] : [bindOf(folders.objects, STEP_PATHS.objects, 'ro')]),
  ];
}

/** `source`: a host folder, or the name of a volume, which would begin with what the image has in its place. */
export function bindOf(source: string, target: string, ...options: 'ro'[]): string {
  const all = source.startsWith('/') ? options : [...options, 'nocopy'];
  return [source, target, ...(all.length === 0 ? [] : [all.join(',')])].join(':');
}
