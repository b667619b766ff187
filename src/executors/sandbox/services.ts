/** Services of a job: scripts in sandboxes of their own beside the steps, found under their names on the loopback. */
import { setTimeout as delay } from 'node:timers/promises';
import { ImpGemError } from '../../errors.ts';
import { createTries, type LastTry, serviceEnded, serviceNotReady } from '../service-failures.ts';
import type { Output, ServiceTask, Task } from '../executor.ts';

const BETWEEN_TRIES_MS = 100;

/** Lines of /etc/hosts for services, which all share the loopback. */
export function hostsOf(base: string, services: string[]): string {
  return `${base.trimEnd()}\n${services.map((name) => `127.0.0.1\t${name}\n`).join('')}`;
}

/** Error `service-needs-run` / `service-name-invalid`. */
export function checkService(service: ServiceTask): string {
  if (!/^[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?$/.test(service.name)) {
    throw new ImpGemError('service-name-invalid', `Service name ${JSON.stringify(service.name)} is not a host name.`);
  }
  if (service.run === undefined) {
    throw new ImpGemError(
      'service-needs-run',
      `Service ${service.name} has no \`run\`: the sandbox executor has no images, so it needs a script that starts the service with the host's own tools (or use IMPGEM_EXECUTOR=docker).`,
    );
  }
  return service.run;
}

export interface Readiness {
  /** Resolves with the code when the service has ended. */
  ended: Promise<number>;
  /** Runs a command beside the service; resolves with its exit code. */
  probe: (command: string, shell: Task['shell'], output: Output, signal: AbortSignal) => Promise<number>;
  /** Hears why the service was not ready, before that is thrown. */
  onUnready: (last: LastTry) => void;
  signal: AbortSignal;
}

/** Resolves when the service is ready. Errors `service-failed`, `service-not-ready`. */
export async function untilReady(service: ServiceTask, readiness: Readiness): Promise<void> {
  const { ready } = service;
  if (ready === undefined) return;
  const over = new AbortController();
  const stop = AbortSignal.any([over.signal, readiness.signal]);
  // The command of an author is run by `sh` in every executor: an image of a service seldom has more.
  const [command, shell] = 'port' in ready ? [untilPort(ready.port), 'bash' as const] : [ready.command, 'sh' as const];
  const tries = createTries();
  const output: Output = {
    write(bytes) {
      tries.push(bytes);
      return Promise.resolve();
    },
  };
  const isReady = async (): Promise<boolean> => {
    const code = await readiness.probe(command, shell, output, stop);
    if (!stop.aborted) tries.end(code);
    return code === 0 && !stop.aborted;
  };
  const poll = async (): Promise<'ready' | 'stopped'> => {
    while (!stop.aborted) {
      if (await isReady()) return 'ready';
      await pause(BETWEEN_TRIES_MS, stop);
    }
    return 'stopped';
  };
  const timeout = pause(ready.timeoutMs, stop).then(() => 'late' as const);
  const polling = poll();
  try {
    const outcome = await Promise.race([readiness.ended.then((code) => ({ code })), timeout, polling]);
    if (outcome === 'ready') return;
    if (readiness.signal.aborted)
      throw new ImpGemError('cancelled', `Waiting for service ${service.name} was cancelled.`);
    if (typeof outcome === 'object') throw serviceEnded(service.name, outcome.code);
    if ('port' in ready) throw serviceNotReady(service.name, ready.timeoutMs);
    const last = tries.last();
    readiness.onUnready(last);
    throw serviceNotReady(service.name, ready.timeoutMs, last);
  } finally {
    over.abort();
    // A probe that still runs is part of the job: it has ended before anyone disposes of that.
    await polling;
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => undefined);
}

/** Beside the service, which may be on a network that we are not on; one sandbox for all tries. */
function untilPort(port: number): string {
  return `until (exec 3<> /dev/tcp/127.0.0.1/${port}) 2> /dev/null; do sleep ${BETWEEN_TRIES_MS / 1000}; done`;
}
