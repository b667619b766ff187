/** Services of a job: containers on its network, found by name, their output kept by the engine. */
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ImpGemError, InputError } from '../../errors.ts';
import { restLeftOut } from '../rest-of-output.ts';
import {
  cannotAsk,
  createServiceOutput,
  createTries,
  type LastTry,
  serviceEnded,
  serviceNotReady,
  type Tries,
} from '../service-failures.ts';
import { type Output, type Service, type ServiceTask, type StartOptions, STEP_PATHS } from '../executor.ts';
import { environmentOf, shellCommand } from '../shell.ts';
import { bindsOf, containerOptions } from './container-spec.ts';
import { engineError, sentenceOf } from './engine.ts';
import type { ContainerEnd, WatchedEnd } from './engine-events.ts';
import { followEngineLog } from './engine-log.ts';
import { checkWorkdir, readWorkdir } from './image-workdir.ts';
import { LABEL } from './labels.ts';
import type { ExecutorParts } from './parts.ts';
import { runExec } from './run-exec.ts';
import { networkName, type Slot } from './slot.ts';
import { createStartQueue } from './start-queue.ts';
import { startError } from './step-container.ts';

const KILLED = 137;

export interface StartedService extends Service {
  containerId: string;
  /** Why it was not ready: stands in its log when its output is at its end. */
  unready?: LastTry;
}

/**
 * Creates and starts the container of a service, whose image is there; its output and its end are followed from here on.
 * `beforeStart`: hears of the container. `stop`: its output is wanted no more.
 */
export async function openService(
  parts: ExecutorParts,
  image: string,
  slot: Slot,
  service: ServiceTask,
  output: Output,
  { beforeStart, stop }: { beforeStart: (containerId: string) => Promise<void>; stop: AbortSignal },
): Promise<StartedService> {
  const { PATH, HOME, ...env } = environmentOf({ env: service.env, path: [] });
  const own = service.run === undefined ? {} : { HOME: HOME ?? '' };
  // A script is the pipeline's, as a step's is; the image's own command is left the user that it is made for.
  const user = service.run === undefined ? undefined : parts.options.runAs;
  const workdir = service.run === undefined ? await readWorkdir(parts.docker, image) : undefined;
  const files = slot.volumes ?? { workspace: join(slot.folder, 'workspace'), home: join(slot.folder, 'home') };
  const container = await creating(service, image, () =>
    parts.docker.createContainer(
      containerOptions({
        engine: parts.engine,
        image,
        ...(service.run === undefined ? {} : { entrypoint: scriptCommand(service.run) }),
        ...(workdir === undefined ? {} : { workdir }),
        unset: parts.images.seen(image)?.reserved ?? [],
        env: { ...own, ...env, ...(service.env['PATH'] === undefined ? {} : { PATH: PATH ?? '' }) },
        labels: { ...slot.labels, [LABEL.step]: `service-${service.name}` },
        network: networkName(slot.id),
        aliases: [service.name],
        limits: parts.options.limits,
        // The files of the job are the pipeline's: an image's own command, such as Redis's, may take what it finds for its own.
        binds: service.run === undefined ? [] : bindsOf(files),
        stdin: false,
        log: 'kept',
        ...(user === undefined ? {} : { user }),
      }),
    ),
  );
  slot.containers.add(container.id);
  if (workdir !== undefined) await checkWorkdir(parts.docker, container.id, workdir, image);
  await beforeStart(container.id);
  const end = parts.events.watch(container.id);
  try {
    await container.start();
  } catch (error) {
    end.forget();
    throw startError(error, image, `start the service ${service.name}`);
  }
  const log = createServiceOutput(service.name, output);
  const following = followService(parts, container.id, log, { end, stop });
  const started: StartedService = {
    containerId: container.id,
    ended: following.then(async (code) => {
      if (started.unready) await log.tell(started.unready);
      return code;
    }),
  };
  return started;
}

async function creating<T>(service: ServiceTask, image: string, create: () => Promise<T>): Promise<T> {
  try {
    return await create();
  } catch (error) {
    if (!/no command specified/i.test(sentenceOf(error)))
      throw engineError(error, `create the service ${service.name}`);
    const message = `The image ${image} has no command of its own: give the service ${service.name} a run`;
    throw new InputError('image-without-command', message, { cause: error });
  }
}

const NO_BASH = 'This image has no bash, which the run of a service needs';

/** By a shell, not by the engine: in an image that has a link in its place, that would follow it. */
const ENTER = `cd ${STEP_PATHS.workspace}`;

/** The script as an argument: a service has no folder of its own. Bash is where a step finds it: see entry.ts. */
function scriptCommand(script: string): string[] {
  const [bash = '', ...options] = shellCommand('bash', '-c');
  const find = `[ -x ${bash} ] && set -- ${bash} || set -- "$(command -v bash)"`;
  const refuse = `if [ -z "$1" ]; then echo '${NO_BASH}'; exit 127; fi`;
  return ['/bin/sh', '-c', `${ENTER}; ${find}; ${refuse}; exec "$1" ${options.join(' ')} "$0"`, script];
}

/**
 * Takes a service's output from its first byte to its end; gives its exit code. Error `service-output-left-out` when `stop`
 * was aborted before.
 */
export async function followService(
  parts: ExecutorParts,
  containerId: string,
  output: Output,
  { end, stop }: { end: WatchedEnd; stop: AbortSignal },
): Promise<number> {
  // A log that takes no more is told of where it is written; the service runs on.
  const log = { open: true };
  for await (const bytes of followEngineLog(parts, containerId, end.signal, undefined, stop)) {
    if (log.open) await output.write(bytes).catch(() => (log.open = false));
  }
  if (stop.aborted) throw restLeftOut();
  return (end.signal.reason as ContainerEnd).code ?? KILLED;
}

/** Settles when the service is ready. Errors `service-failed`, `service-not-ready`; the signal's own reason when aborted. */
export async function untilReady(
  parts: ExecutorParts,
  slot: Slot,
  service: ServiceTask,
  started: StartedService,
  { signal }: StartOptions,
): Promise<void> {
  const { ready } = service;
  if (!ready) return;
  const tries = createTries();
  const giveUp = new AbortController();
  // Not AbortSignal.timeout: as one of several, it may be collected as garbage before its time.
  const late = setTimeout(() => giveUp.abort(), ready.timeoutMs);
  const stop = AbortSignal.any([signal, giveUp.signal]);
  // Asked inside the job's network, where the engine is perhaps far away: one command that tries until it succeeds.
  const ask = (): Promise<number | undefined> =>
    'port' in ready
      ? askPort(parts, slot, portProbe(service.name, ready.port, ready.timeoutMs), stop)
      : askCommand(parts, started.containerId, commandProbe(service, ready.command, ready.timeoutMs), tries, stop);
  const probe = askAgain(ask, ({ code }) => ('port' in ready ? code === NO_TOOL : cannotRun(code, tries)), stop);
  const outcome = await Promise.race([
    probe.catch((error: unknown) => endOrError(parts, started, error)),
    started.ended.then((endedWith) => ({ endedWith })),
  ]).finally(() => {
    clearTimeout(late);
    giveUp.abort();
  });
  probe.catch(() => undefined);
  signal.throwIfAborted();
  if ('endedWith' in outcome) throw serviceEnded(service.name, outcome.endedWith);
  if (outcome.code === 0) return;
  const ended = await Promise.race([started.ended, Promise.resolve(undefined)]);
  if (ended !== undefined) throw serviceEnded(service.name, ended);
  if ('port' in ready) throw portNotReady(service.name, ready.timeoutMs, outcome.code);
  started.unready = tries.last();
  if (cannotRun(outcome.code, tries)) throw cannotAsk(service.name, started.unready);
  throw serviceNotReady(service.name, ready.timeoutMs, started.unready);
}

const ASK_AGAIN_MS = 100;

/**
 * What asks may be killed, or not start where processes or memory are short: that is one try that failed. Gives how the last
 * one ended, with 0, as `isFinal` says, or when `stop` was aborted.
 */
async function askAgain(
  ask: () => Promise<number | undefined>,
  isFinal: (end: { code: number | undefined }) => boolean,
  stop: AbortSignal,
): Promise<{ code: number | undefined }> {
  for (;;) {
    const end = { code: await ask() };
    if (end.code === 0 || isFinal(end)) return end;
    const goesOn = await delay(ASK_AGAIN_MS, true, { signal: stop }).catch(() => false);
    if (!goesOn) return end;
  }
}

/** A few at a time: until the command itself runs, it takes many times the memory and processes that it needs then. */
async function askPort(
  parts: ExecutorParts,
  slot: Slot,
  probe: string[],
  stop: AbortSignal,
): Promise<number | undefined> {
  slot.probes ??= createStartQueue();
  let asked: Promise<number | undefined> = Promise.resolve(undefined);
  await slot.probes.run(async () => {
    if (stop.aborted) return;
    const runs = new Promise<void>((resolve) => {
      const onOutput = (): boolean => (resolve(), false);
      asked = runExec(parts.docker, slot.holderId, probe, stop, { onOutput });
    });
    await Promise.race([runs, asked.catch(() => undefined)]);
  });
  return asked;
}

/** A command cannot be run in a service that has ended meanwhile: then that is what happened. */
async function endOrError(
  parts: ExecutorParts,
  started: StartedService,
  error: unknown,
): Promise<{ endedWith: number }> {
  if (await parts.events.look(started.containerId)) return { endedWith: await started.ended };
  throw error;
}

/** The exit code of a portProbe in an image that has nothing to ask with; not one of the engine's own, 126 and 127. */
const NO_TOOL = 99;

/** Prints a line when it runs. */
function portProbe(name: string, port: number, timeoutMs: number): string[] {
  const attempt = `if command -v bash >/dev/null; then bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$1" "$2"
    elif command -v nc >/dev/null; then nc -w 1 "$1" "$2" </dev/null >/dev/null
    else exit ${NO_TOOL}; fi`;
  return ['/bin/sh', '-c', `echo; ${tryUntil(attempt, timeoutMs)}`, 'sh', name, String(port)];
}

function portNotReady(name: string, timeoutMs: number, code: number | undefined): ImpGemError {
  if (code === NO_TOOL)
    return new ImpGemError(
      'service-not-ready',
      `Whether port and service ${name} are ready cannot be asked: the job's image has neither bash nor nc. Use ready: { command }`,
    );
  const late = serviceNotReady(name, timeoutMs);
  if (code === undefined || code === GAVE_UP) return late;
  return new ImpGemError(late.code, `${late.message}: what asks for its port ended with exit code ${code}`);
}

/** In a service that has no shell for it, say; that will not change. */
function cannotRun(code: number | undefined, tries: Tries): boolean {
  return (code === 126 || code === 127) && /no such file|not found|permission denied/i.test(tries.last().line);
}

/** What stands in the output of the probe after each try. */
const RECORD = /\0ready (\d{1,3})\0/;
const BEGINS_RECORD = /\0[ready]{0,5}[ \d]{0,4}$/;

/** Where the script of the service runs, too. */
function commandProbe(service: ServiceTask, command: string, timeoutMs: number): string[] {
  const attempt = `/bin/sh -c "$1" >&3 2>&3 3>&-; code=$?; printf '\\000ready %s\\000' $code >&3; [ $code -eq 0 ]`;
  const enter = service.run === undefined ? '' : `${ENTER}; `;
  return ['/bin/sh', '-c', `${enter}exec 3>&1; ${tryUntil(attempt, timeoutMs)}`, 'sh', command];
}

/** Gives the exit code of a commandProbe, and `tries` what it says. */
async function askCommand(
  parts: ExecutorParts,
  containerId: string,
  probe: string[],
  tries: Tries,
  stop: AbortSignal,
): Promise<number | undefined> {
  let held = '';
  const onOutput = (bytes: Buffer): boolean => {
    const pieces = (held + bytes.toString('latin1')).split(RECORD);
    const rest = pieces.pop() ?? '';
    for (let at = 0; at < pieces.length; at += 2) {
      tries.push(Buffer.from(pieces[at] ?? '', 'latin1'));
      tries.end(Number(pieces[at + 1]));
    }
    const whole = rest.search(BEGINS_RECORD);
    held = whole < 0 ? '' : rest.slice(whole);
    tries.push(Buffer.from(whole < 0 ? rest : rest.slice(0, whole), 'latin1'));
    // What it left running may hold its output open.
    return tries.last().code === 0;
  };
  const code = await runExec(parts.docker, containerId, probe, stop, { onOutput });
  if (tries.last().code === 0) return 0;
  // The engine says why no try could be made; or the one that ran was killed.
  if (code !== undefined && code !== GAVE_UP) tries.end(code);
  return code;
}

/** The exit code of what tryUntil gives. */
const GAVE_UP = 1;

/** A command for `sh -c`. Bounded, since nobody can end it from outside when the worker is killed. */
export function tryUntil(attempt: string, timeoutMs: number): string {
  const tries = Math.ceil(timeoutMs / 100);
  return `i=0; while [ $i -lt ${tries} ]; do { ${attempt}; } >/dev/null 2>&1 && exit 0; i=$((i+1)); sleep 0.1; done; exit 1`;
}
