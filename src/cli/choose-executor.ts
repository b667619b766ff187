import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Settings } from '../config/schema.ts';
import { parseSize } from '../config/units.ts';
import { InfrastructureError } from '../errors.ts';
import type { Executor } from '../executors/executor.ts';
import { dataFolder } from './data-folder.ts';
import { stepLimits } from './job-defaults.ts';

export interface ExecutorUse {
  /**
   * Folder of what `impgem run` makes; absent: a worker's executor. A single run keeps nothing warm for a next one, and
   * is no part of the installation whose data folder may be the same: neither clears away what the other made.
   */
  local?: string;
  /** Hears of what goes wrong in the background. */
  onProblem?: (error: unknown) => void;
  /** Hears what steps run in, and why. */
  onChoice?: (sentence: string) => void;
}

/**
 * The executor that IMPGEM_EXECUTOR names; `auto` is docker if DOCKER_HOST says where an engine is, or one answers at the
 * usual place, else the sandbox. Only the chosen one is loaded. Throws InfrastructureError, saying what is missing and how
 * to get it.
 */
export async function chooseExecutor(settings: Settings, use: ExecutorUse = {}): Promise<Executor> {
  const { onChoice = () => undefined } = use;
  const wanted = settings.IMPGEM_EXECUTOR;
  if (wanted === 'sandbox') {
    onChoice('steps run in the sandbox: IMPGEM_EXECUTOR says so');
    return openSandbox(settings, use);
  }
  const { probeEngine } = await import('../executors/docker/probe-engine.ts');
  const probe = await probeEngine(engineAddress(settings));
  if (probe.ok) {
    onChoice(`steps run in containers: an engine ${probe.version} answers`);
    return openDocker(settings, use);
  }
  if (needsEngine(settings)) {
    const why = wanted === 'docker' ? '' : ' (DOCKER_HOST is set: IMPGEM_EXECUTOR=auto means docker)';
    throw new InfrastructureError(
      probe.isThere ? 'engine-failed' : 'engine-unreachable',
      `Steps cannot run here: the Docker engine does not answer${why}: ${probe.reason}. Start it, correct DOCKER_HOST, or set IMPGEM_EXECUTOR=sandbox.`,
      { retryable: true },
    );
  }
  const because = `no Docker engine answers (${probe.reason})`;
  onChoice(`steps run in the sandbox, on this machine's own tools: ${because}`);
  return openSandbox(settings, use, `${because}, and `);
}

/** Whether steps run in containers or not at all: who says where an engine is does not mean "or on this machine". */
export function needsEngine(settings: Settings): boolean {
  if (settings.IMPGEM_EXECUTOR !== 'auto') return settings.IMPGEM_EXECUTOR === 'docker';
  return settings.DOCKER_HOST !== undefined;
}

async function openSandbox(settings: Settings, use: ExecutorUse, because = ''): Promise<Executor> {
  const { createSandboxExecutor, findBubblewrap } = await import('../executors/sandbox/executor.ts');
  if (findBubblewrap() === undefined)
    throw new InfrastructureError(
      'executor-unavailable',
      `Steps cannot run here: ${because}bubblewrap is not installed. Install it (apt-get install bubblewrap), or start a Docker engine.`,
    );
  return createSandboxExecutor({
    mounts: listOf(settings.IMPGEM_SANDBOX_MOUNTS),
    hide: [dataFolder(settings).root],
    limits: stepLimits(settings),
    network: settings.IMPGEM_SANDBOX_NETWORK,
    warm: use.local === undefined,
  });
}

async function openDocker(settings: Settings, use: ExecutorUse): Promise<Executor> {
  const { createDockerExecutor } = await import('../executors/docker/docker-executor.ts');
  const { parseNestedOptions } = await import('../executors/docker/nested-options.ts');
  const { memory = parseSize('4g') ?? 0, cpu = 2, pids = 2048 } = stepLimits(settings);
  const root = use.local ?? dataFolder(settings).root;
  return createDockerExecutor({
    ...engineAddress(settings),
    limits: { memory, cpu, pids },
    pullPolicy: settings.IMPGEM_PULL_POLICY,
    ...(settings.IMPGEM_RUN_AS === undefined ? {} : { runAs: settings.IMPGEM_RUN_AS }),
    ...(settings.DOCKER_AUTH_CONFIG === undefined ? {} : { authConfig: settings.DOCKER_AUTH_CONFIG }),
    // Workers on one data folder are one installation: each may clear away what a dead one left, and nothing else.
    instance: instanceOf(root),
    // Of local runs several may be in the making at once.
    workerName: use.local === undefined ? (settings.IMPGEM_WORKER_NAME ?? hostname()) : `local-${process.pid}`,
    folder: join(root, 'warm'),
    blockedNetworks: listOf(settings.IMPGEM_BLOCKED_NETWORKS),
    ...(use.onProblem === undefined ? {} : { onProblem: use.onProblem }),
    logLimit: parseSize(settings.IMPGEM_LOG_LIMIT) ?? 4 * 1024 ** 3,
    filesLimit: parseSize(settings.IMPGEM_CLONE_LIMIT) ?? 20 * 1024 ** 3,
    image: settings.IMPGEM_IMAGE,
    nested: {
      image: settings.IMPGEM_NESTED_ENGINE_IMAGE,
      rights: parseNestedOptions(settings.IMPGEM_NESTED_ENGINE_OPTIONS),
    },
    warmSlots: use.local === undefined ? settings.IMPGEM_WARM_SLOTS : 0,
  });
}

/** By which what we made on an engine is known to be of the installation with this data folder. */
export function instanceOf(root: string): string {
  return createHash('sha256').update(root).digest('hex').slice(0, 12);
}

export function engineAddress(settings: Settings): { host?: string; certPath?: string; tlsVerify?: boolean } {
  return {
    ...(settings.DOCKER_HOST === undefined ? {} : { host: settings.DOCKER_HOST }),
    ...(settings.DOCKER_CERT_PATH === undefined ? {} : { certPath: settings.DOCKER_CERT_PATH }),
    tlsVerify: (settings.DOCKER_TLS_VERIFY ?? '') !== '',
  };
}

/** Of a setting that is a list with commas. */
export function listOf(text: string | undefined): string[] {
  return (text ?? '').split(',').flatMap((part) => (part.trim() === '' ? [] : [part.trim()]));
}
