import type { Settings } from '../../config/schema.ts';
import { messageOf } from '../../errors.ts';
import type { EngineReport } from '../../executors/docker/inspect-engine.ts';
import { parseNestedOptions } from '../../executors/docker/nested-options.ts';
import { engineAddress, listOf } from '../choose-executor.ts';
import { dataFolder } from '../data-folder.ts';
import { type Finding, isOlder } from './finding.ts';

const OLDEST_ENGINE = '20.10';
/** Bytes: an image of a language with its tools has one or two GB. */
const LITTLE_ROOM = 5e9;
/** Ways out of a container that were found in runc, and the versions that closed them, for each line that is kept up. */
const RUNC_HOLES = [
  { name: 'CVE-2024-21626 (working directory)', fixed: ['1.1.12'] },
  { name: 'CVE-2025-31133, -52565, -52881 (masked paths, console)', fixed: ['1.2.8', '1.3.3', '1.4.0'] },
];

export async function checkEngine(settings: Settings): Promise<Finding[]> {
  const { inspectEngine } = await import('../../executors/docker/inspect-engine.ts');
  const report = await inspectEngine(
    engineAddress(settings),
    dataFolder(settings).work,
    settings.IMPGEM_IMAGE,
    listOf(settings.IMPGEM_BLOCKED_NETWORKS),
  );
  if ('unreachable' in report) return [withoutEngine(settings, report.unreachable)];
  return [
    version(report),
    runc(report),
    disk(report, settings),
    ...room(report),
    ...rules(report),
    ...limits(report),
    ...nested(settings),
  ];
}

function withoutEngine(settings: Settings, reason: string): Finding {
  const host = settings.DOCKER_HOST ?? 'unix:///var/run/docker.sock';
  const message = `no Docker engine answers at ${host}: ${reason}`;
  if (settings.IMPGEM_EXECUTOR !== 'docker') return { what: 'docker engine', state: 'skipped', message };
  const advice = /certificate|TLS|\.pem/.test(reason)
    ? 'Correct DOCKER_HOST, DOCKER_CERT_PATH or DOCKER_TLS_VERIFY as it says.'
    : 'Start one, set DOCKER_HOST to where it is, or set IMPGEM_EXECUTOR=sandbox.';
  return { what: 'docker engine', state: 'failed', message, advice };
}

function version(report: EngineReport): Finding {
  const { rootless, system, cgroup, storage } = report;
  const message = `engine ${report.version} on ${system}, API ${report.apiVersion}, cgroup ${cgroup}, storage ${storage}${rootless ? ', rootless' : ''}`;
  if (isOlder(report.version, OLDEST_ENGINE))
    return { what: 'docker engine', state: 'failed', message, advice: `Take ${OLDEST_ENGINE} or newer.` };
  if (storage === 'vfs')
    return { what: 'docker engine', state: 'warning', message, advice: 'vfs copies each image: take overlay2.' };
  return { what: 'docker engine', state: 'ok', message };
}

function runc(report: EngineReport): Finding {
  const what = 'runc';
  if (report.runc === '') return { what, state: 'skipped', message: 'the engine names no runc (another runtime)' };
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

/** Where images and containers grow may be another disk than that of the data folder. */
export function room({ room: found }: Pick<EngineReport, 'room'>): Finding[] {
  if (found === undefined) return [];
  const what = 'images and containers';
  const message = `${found.folder}, ${(found.free / 1e9).toFixed(1)} GB free`;
  if (found.free >= LITTLE_ROOM) return [{ what, state: 'ok', message }];
  return [{ what, state: 'warning', message, advice: 'Make room: `docker system df` says what takes it.' }];
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
        advice: 'IMPGEM_IMAGE needs chroot, the host of the engine iptables.',
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
