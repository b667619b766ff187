import type { Settings } from '../../config/schema.ts';
import { messageOf } from '../../errors.ts';
import type { EngineFault, EngineReport } from '../../executors/docker/inspect-engine.ts';
import { parseNestedOptions } from '../../executors/docker/nested-options.ts';
import { engineAddress, instanceOf, listOf, needsEngine } from '../choose-executor.ts';
import { dataFolder } from '../data-folder.ts';
import { type FreeRoom, freeRoom } from '../../free-room.ts';
import { FEW_FILES, type Finding, isOlder, roomText } from './finding.ts';

export const ENGINE = 'docker engine';
const OLDEST = { Docker: '20.10', Podman: '4.3' };
/** Bytes: an image of a language with its tools has one or two GB. */
const LITTLE_ROOM = 5e9;
const FULL = /no space left|disk of the Docker engine is full/i;
const MAKE_ROOM =
  'Make room on its disk: `docker system df` says what takes it, `docker system prune` removes what nobody uses.';
/** Ways out of a container that were found in runc, and the versions that closed them, for each line that is kept up. */
const RUNC_HOLES = [
  { name: 'CVE-2024-21626 (working directory)', fixed: ['1.1.12'] },
  { name: 'CVE-2024-45310 (files made on the host)', fixed: ['1.1.14', '1.2.0-rc.3'] },
  { name: 'CVE-2025-31133, -52565, -52881 (masked paths, console)', fixed: ['1.2.8', '1.3.3', '1.4.0-rc.3'] },
];

export interface EngineCheck {
  findings: Finding[];
  /** Whether a worker would take the engine, or nothing. */
  isTaken: boolean;
}

export async function checkEngine(settings: Settings): Promise<EngineCheck> {
  if (settings.IMPGEM_EXECUTOR === 'sandbox') {
    const message = 'IMPGEM_EXECUTOR=sandbox: no engine is used';
    const advice = 'Nothing, unless you set IMPGEM_EXECUTOR=docker or auto.';
    return { findings: [{ what: ENGINE, state: 'skipped', message, advice }], isTaken: false };
  }
  const { inspectEngine } = await import('../../executors/docker/inspect-engine.ts');
  const report = await inspectEngine({
    address: engineAddress(settings),
    owner: { instance: instanceOf(dataFolder(settings).root), workerName: `doctor-${process.pid}` },
    folder: dataFolder(settings).work,
    image: settings.IMPGEM_IMAGE,
    blocked: listOf(settings.IMPGEM_BLOCKED_NETWORKS),
  });
  if ('unreachable' in report || 'failed' in report) {
    const isTaken = needsEngine(settings) || ('failed' in report && report.answers);
    return { findings: [withoutEngine(settings, report, isTaken)], isTaken };
  }
  const findings = [
    version(report),
    runc(report),
    disk(report, settings),
    ...(await room(report)),
    ...rules(report),
    ...limits(report),
    ...nested(settings),
  ];
  return { findings, isTaken: true };
}

function withoutEngine(settings: Settings, fault: EngineFault, isTaken: boolean): Finding {
  const host = settings.DOCKER_HOST ?? 'unix:///var/run/docker.sock';
  if ('failed' in fault)
    return {
      what: ENGINE,
      state: isTaken ? 'failed' : 'warning',
      message: `the Docker engine at ${host} does not work: ${fault.failed}`,
      advice: adviceFor(fault.failed, isTaken),
    };
  const message = `no Docker engine answers at ${host}: ${fault.unreachable}`;
  const start = fault.unreachable.includes('EACCES')
    ? 'Let this user reach it (group docker)'
    : 'Start one, set DOCKER_HOST to where it is';
  return {
    what: ENGINE,
    state: isTaken ? 'failed' : 'skipped',
    message,
    advice: isTaken ? `${start}, or set IMPGEM_EXECUTOR=sandbox.` : `${start}, if steps are to run in containers.`,
  };
}

function adviceFor(reason: string, isTaken: boolean): string {
  if (/certificate|TLS|\.pem|DOCKER_/.test(reason))
    return 'Correct DOCKER_HOST, DOCKER_CERT_PATH or DOCKER_TLS_VERIFY as it says.';
  if (FULL.test(reason)) return MAKE_ROOM;
  const restart = 'Look into its log (journalctl -u docker) and restart it';
  return isTaken
    ? `${restart}, correct DOCKER_HOST, or set IMPGEM_EXECUTOR=sandbox.`
    : `${restart}, if steps are to run in containers.`;
}

function version(report: EngineReport): Finding {
  const { kind, rootless, system, cgroup, storage } = report;
  const message = `${kind} engine ${report.version} on ${system}, API ${report.apiVersion}, cgroup ${cgroup}, storage ${storage}${rootless ? ', rootless' : ''}`;
  if (isOlder(report.version, OLDEST[kind]))
    return { what: ENGINE, state: 'failed', message, advice: `Take ${OLDEST[kind]} or newer.` };
  if (kind === 'Podman')
    return {
      what: ENGINE,
      state: 'warning',
      message,
      advice: 'Some things do not hold with Podman, as docs/isolation.md says ("Podman instead of Docker").',
    };
  if (storage === 'vfs')
    return { what: ENGINE, state: 'warning', message, advice: 'vfs copies each image: take overlay2.' };
  return { what: ENGINE, state: 'ok', message };
}

export function runc(report: Pick<EngineReport, 'runc'>): Finding {
  const what = 'runc';
  if (report.runc === '')
    return {
      what,
      state: 'skipped',
      message: 'the engine names no runc (another runtime)',
      advice: 'Look after the holes of that runtime yourself.',
    };
  const open = RUNC_HOLES.filter(({ fixed }) => !fixed.some((line) => isFixed(report.runc, line, fixed)));
  if (open.length === 0) return { what, state: 'ok', message: `runc ${report.runc} has no hole that we know` };
  return {
    what,
    state: 'warning',
    message: `runc ${report.runc} is older than the fix of ${open.map(({ name }) => name).join(' and ')}`,
    advice: 'Update runc, unless your distribution has put the fixes into this version.',
  };
}

/** Fixed in its own line (1.2.x by 1.2.8), or newer than the newest line. */
function isFixed(version: string, line: string, all: string[]): boolean {
  const minor = (text: string): string => text.split('.').slice(0, 2).join('.');
  if (minor(version) === minor(line)) return !isOlder(version, line);
  return line === all.at(-1) && !isOlder(version, line);
}

function disk(report: EngineReport, settings: Settings): Finding {
  const what = 'disk of the engine';
  if (report.seesDisk === undefined)
    return {
      what,
      state: 'warning',
      message: `whether the engine sees the data folder, and keeps steps from its host, cannot be tried: it has no image ${settings.IMPGEM_IMAGE} yet`,
      advice: `Pull it and look again: docker pull ${settings.IMPGEM_IMAGE}`,
    };
  if (report.seesDisk) return { what, state: 'ok', message: 'the engine sees the data folder: workspaces are mounted' };
  return {
    what,
    state: 'warning',
    message: 'the engine does not see the data folder at the same path: workspaces are copied, and steps start later',
    advice: 'Mount the data folder into the engine at the same path, as docker-compose.yml does.',
  };
}

/** Elsewhere, or in a container, the engine's folder is not here: then nobody here can tell. */
async function room({ rootFolder }: EngineReport): Promise<Finding[]> {
  const found = rootFolder === undefined ? undefined : await freeRoom(rootFolder).catch(() => undefined);
  return rootFolder === undefined || found === undefined ? [] : [roomFinding(rootFolder, found)];
}

/** Where images and containers grow may be another disk than that of the data folder. */
export function roomFinding(folder: string, found: FreeRoom): Finding {
  const what = 'images and containers';
  const message = `${folder}, ${roomText(found)}`;
  if (found.bytes >= LITTLE_ROOM && found.files >= FEW_FILES) return { what, state: 'ok', message };
  return { what, state: 'warning', message, advice: MAKE_ROOM };
}

function rules({ rules: set }: EngineReport): Finding[] {
  const what = 'network of steps';
  if (set === undefined) return [];
  if (set.error !== undefined)
    return [
      {
        what,
        state: 'failed',
        message: set.error,
        advice: FULL.test(set.error)
          ? MAKE_ROOM
          : 'No job is run until it is corrected. IMPGEM_IMAGE needs chroot, the host of the engine iptables.',
      },
    ];
  if (set.caveat === undefined)
    return [{ what, state: 'ok', message: "steps reach no service of the engine's host, nor blocked networks" }];
  return [
    { what, state: 'warning', message: set.caveat, advice: 'Take an engine that can, or see docs/isolation.md.' },
  ];
}

function limits(report: EngineReport): Finding[] {
  const missing = report.warnings.filter((line) => /no .*(memory limit|pids limit|cpu cfs)/i.test(line));
  return missing.map((line) => ({
    what: 'limits',
    state: 'warning',
    message: `the engine says: ${line.replace(/^WARNING:\s*/, '')}`,
    advice: 'A limit that the kernel does not enforce holds no step back: switch the controller on.',
  }));
}

/** Whom `docker: true` lets in is worth a look now and then. */
function nested(settings: Settings): Finding[] {
  const what = 'nested engines';
  const trusted = settings.IMPGEM_TRUSTED_REPOSITORIES;
  if (trusted === undefined) return [];
  const { IMPGEM_NESTED_ENGINE_IMAGE: image, IMPGEM_NESTED_ENGINE_OPTIONS: options } = settings;
  try {
    if (!parseNestedOptions(options).Privileged)
      return [{ what, state: 'ok', message: `${image} with ${options}, for jobs of ${trusted}` }];
  } catch (error) {
    return [
      { what, state: 'failed', message: messageOf(error), advice: 'Correct the setting; a worker does not start.' },
    ];
  }
  return [
    {
      what,
      state: 'warning',
      message: `jobs of ${trusted} may start ${image} with ${options}`,
      advice: 'Who may push there owns the machine of the engine: list few, or give a runtime such as sysbox-runc.',
    },
  ];
}
