/** Whether a service is ready: asked inside the job's network or in the service itself, again and again. */
import { setTimeout as delay } from 'node:timers/promises';
import { ImpGemError } from '../../errors.ts';
import { cannotAsk, createTries, serviceEnded, serviceNotReady, type Tries } from '../service-failures.ts';
import { type ServiceTask, type StartOptions, STEP_PATHS } from '../executor.ts';
import type { ExecutorParts } from './parts.ts';
import { runExec } from './run-exec.ts';
import type { StartedService } from './services.ts';
import { makeRoomForProbes, type Slot } from './slot.ts';
import { createStartQueue } from './start-queue.ts';

/** By a shell, not by the engine: in an image that has a link in its place, that would follow it. */
export const ENTER = `cd ${STEP_PATHS.workspace}`;

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
  await (slot.probeRoom ??= makeRoomForProbes(parts, slot));
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
export const GAVE_UP = 1;

/** A command for `sh -c`. Bounded, since nobody can end it from outside when the worker is killed. */
export function tryUntil(attempt: string, timeoutMs: number): string {
  const tries = Math.ceil(timeoutMs / 100);
  return `i=0; while [ $i -lt ${tries} ]; do { ${attempt}; } >/dev/null 2>&1 && exit 0; i=$((i+1)); sleep 0.1; done; exit ${GAVE_UP}`;
}
