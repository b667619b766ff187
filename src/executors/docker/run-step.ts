/** From the script to the exit of one step: follows its output, hears of its end, ends it when told to. */
import { existsSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { InfrastructureError, LostJobError } from '../../errors.ts';
import type { Exit, Handover, Output, StartOptions } from '../executor.ts';
import { readHandover } from '../shell.ts';
import type { ContainerEnd, WatchedEnd } from './engine-events.ts';
import { createEndRecordSplitter, type StepEnd } from './end-record.ts';
import { SCRIPT, TERMINATE_ALL } from './entry.ts';
import { engineCall, engineError, isGone, isUnreachable, statusOf } from './engine.ts';
import { isRunning } from './engine-loss.ts';
import { followEngineLog } from './engine-log.ts';
import { followFile } from './follow-file.ts';
import type { ExecutorParts } from './parts.ts';
import { fetchHandover } from './step-archive.ts';
import { handoverFolder, logPath, scriptPath } from './step-folder.ts';

const GRACE_MS = 10_000;
const KILLED = 137;
/** A script that was handed over arrives within milliseconds. */
const SCRIPT_GRACE_MS = 5000;
const SETTLE_MS = 1000;

export interface RunningStep {
  containerId: string;
  nonce: string;
  /** Its output as a file on our disk; absent where the engine keeps it. */
  log?: FileHandle;
  /** Output comes, framed by the engine, where it is no file; the end of its stdin ends the rest of it. Absent when an earlier worker began the step. */
  stdio?: NodeJS.ReadWriteStream;
  /** Its step folder on our disk. */
  folder: string;
  end: WatchedEnd;
  /** Digest of its image. */
  image?: string;
}

/**
 * Settles when the step has ended and all its output has been taken. Error `task-not-started` when it never had its script.
 */
export async function followStep(
  parts: ExecutorParts,
  step: RunningStep,
  output: Output,
  { signal, graceMs = GRACE_MS }: StartOptions,
): Promise<Exit> {
  const { end } = step;
  const over = new AbortController();
  let heard = false;
  const isHeard = (): boolean => heard;
  const ending = endWithoutScript(parts, step, isHeard, over.signal);
  const onCancel = () => void terminate(parts, step.containerId, graceMs, over.signal);
  if (signal.aborted) onCancel();
  else signal.addEventListener('abort', onCancel, { once: true, signal: over.signal });
  try {
    const recorded = await takeOutput(parts, step, output, () => (heard = true));
    const code = recorded?.code ?? codeWithoutRecord(end.signal);
    const hindrance = recorded === undefined && !signal.aborted ? hindranceOf(code) : undefined;
    if (recorded === undefined && hindrance === undefined && !isHeard()) {
      over.abort();
      const ended = await ending;
      if (!(await hasScript(parts, step)))
        throw new InfrastructureError('task-not-started', 'The script of a step never reached its container', {
          retryable: true,
        });
      if (ended)
        throw new InfrastructureError('container-lost', 'The script of a step came when it was given up', {
          retryable: true,
        });
    }
    if (hindrance !== undefined) await output.write(Buffer.from(`${hindrance}\n`));
    // What may still write to the workspace, or was killed for memory, is looked at closer; a plain success is not.
    const suspicious = code !== 0 || recorded?.leftovers !== false;
    const outOfMemory = suspicious && (await stopContainer(parts, step.containerId)).outOfMemory;
    const reason = signal.aborted ? 'cancelled' : outOfMemory && code !== 0 ? 'out of memory' : undefined;
    const handover = step.log ? readHandover(handoverFolder(step.folder)) : await takeHandover(parts, step.containerId);
    const { image } = step;
    return {
      code,
      handover,
      ...(reason === undefined ? {} : { reason }),
      ...(image === undefined ? {} : { image }),
    };
  } catch (error) {
    if (!livesOn(error)) await killContainer(parts, step.containerId, end.signal);
    throw error;
  } finally {
    over.abort();
    end.forget();
    // Not awaited: the next step need not wait for it.
    step.log?.close().catch(() => undefined);
  }
}

/** After such an error the step is not ours to end: the job was lost, or is carried on when the engine answers again. */
export function livesOn(error: unknown): boolean {
  return error instanceof LostJobError || isUnreachable(error);
}

/** Podman looks into a container through a process of it, which ends in these moments: then it is asked again. */
async function takeHandover(parts: ExecutorParts, id: string): Promise<Handover> {
  try {
    return await fetchHandover(parts.docker, id);
  } catch (error) {
    if (livesOn(error)) throw error;
    await stopContainer(parts, id);
    return fetchHandover(parts.docker, id);
  }
}

/** Gives the end record; undefined when the container ended without one. */
async function takeOutput(
  parts: ExecutorParts,
  step: RunningStep,
  output: Output,
  onOutput: () => void,
): Promise<StepEnd | undefined> {
  const ended = step.end.signal;
  const splitter = createEndRecordSplitter(step.nonce);
  const { logLimit } = parts.options;
  let end: StepEnd | undefined;
  let taken = 0;
  let killed = false;
  const sink = async (bytes: Buffer): Promise<boolean> => {
    onOutput();
    const part = splitter.push(bytes);
    end = part.end;
    // One byte more than the limit, so that whoever reads sees that it was passed.
    const shown = part.output.subarray(0, Math.max(0, logLimit + 1 - taken));
    taken += shown.length;
    if (shown.length > 0) await output.write(shown);
    return end !== undefined || taken > logLimit;
  };
  const onSize = (size: number): void => {
    if (size <= logLimit || killed) return;
    killed = true;
    void killContainer(parts, step.containerId, ended);
  };
  if (step.log) await followFile({ handle: step.log, path: logPath(step.folder), ended, sink, onSize });
  else
    for await (const bytes of followEngineLog(parts, step.containerId, ended, step.stdio)) if (await sink(bytes)) break;
  const rest = splitter.rest();
  if (end === undefined && rest.length > 0) await output.write(rest);
  return taken > logLimit ? { code: KILLED, leftovers: true } : end;
}

/** The entry process prints a record unless it was killed, so an end without one is never a success. */
function codeWithoutRecord(ended: AbortSignal): number {
  const { code } = ended.reason as ContainerEnd;
  if (code === undefined)
    throw new InfrastructureError('container-lost', 'The container of a step was removed while it ran', {
      retryable: true,
    });
  return code === 0 ? KILLED : code;
}

/** Why the entry process ended by itself before its script did, which that could not say. */
function hindranceOf(code: number): string | undefined {
  if (code === 126 || code === 127) return 'The image of this step has no `cat` that can be run; steps need one';
  // What was killed ends with 128 and more, but bash says 254.
  if (code < 128 || code === 254)
    return `No process could be started for the script (exit code ${code}): the step needs more than its "limits" allow`;
  return undefined;
}

/**
 * A script may be lost with the engine that was carrying it, and stdin stays open when that starts again (live-restore): such
 * a container waits for ever. Gives whether it was ended for that; settles soon after `over` at the latest.
 */
async function endWithoutScript(
  parts: ExecutorParts,
  step: RunningStep,
  isHeard: () => boolean,
  over: AbortSignal,
): Promise<boolean> {
  while (await waited(SCRIPT_GRACE_MS, over)) {
    try {
      // A script may remove its own file, but whoever says something has had one.
      if (isHeard() || (await hasScript(parts, step))) return false;
      // Answers when the engine is at work: what it had in hand before is through a moment later.
      if (!(await isRunning(parts, step.containerId)) || !(await waited(SETTLE_MS, over))) return false;
      if (isHeard() || (await hasScript(parts, step))) return false;
      await killContainer(parts, step.containerId, step.end.signal);
      return true;
    } catch {
      // Whoever follows the step hears of it; when the engine answers again, this goes on.
    }
  }
  return false;
}

async function waited(ms: number, over: AbortSignal): Promise<boolean> {
  return delay(ms, true, { signal: over }).catch(() => false);
}

/** What is recorded as started may never have had its script: that is recorded first. */
async function hasScript({ docker }: ExecutorParts, step: RunningStep): Promise<boolean> {
  if (step.log) return existsSync(scriptPath(step.folder));
  return engineCall('look for the script of a step', async () => {
    try {
      await docker.getContainer(step.containerId).infoArchive({ path: SCRIPT });
      return true;
    } catch (error) {
      if (isGone(error)) return false;
      throw error;
    }
  });
}

/** Ends what is left in the container, and gives what the engine knows of its end only then. */
export async function stopContainer(parts: ExecutorParts, id: string): Promise<{ outOfMemory: boolean }> {
  await killContainer(parts, id);
  try {
    const container = parts.docker.getContainer(id);
    await container.wait();
    return { outOfMemory: (await container.inspect()).State.OOMKilled };
  } catch (error) {
    if (isGone(error)) return { outOfMemory: false };
    throw engineError(error, 'ask how a container ended');
  }
}

/** TERM to every process, KILL when the step is not over after `graceMs`. */
async function terminate(parts: ExecutorParts, id: string, graceMs: number, over: AbortSignal): Promise<void> {
  const timer = setTimeout(() => void killContainer(parts, id, over), graceMs);
  over.addEventListener('abort', () => clearTimeout(timer), { once: true });
  try {
    const exec = await parts.docker.getContainer(id).exec({ Cmd: [...TERMINATE_ALL] });
    await exec.start({ Detach: true });
  } catch {
    // A container that cannot start one more process (it is at its limit, or ends just now) is left to the KILL.
  }
}

const KILL_AGAIN_MS = 500;

/** KILL, and again while the engine cannot take it, until `over`; absent: once. */
export async function killContainer(parts: ExecutorParts, id: string, over?: AbortSignal): Promise<void> {
  for (;;) {
    try {
      await parts.docker.getContainer(id).kill({ signal: 'SIGKILL' });
      return;
    } catch (error) {
      // 409: it has ended by itself.
      if (isGone(error) || statusOf(error) === 409 || over === undefined) return;
    }
    await delay(KILL_AGAIN_MS, undefined, { ref: false, signal: over }).catch(() => undefined);
    if (over.aborted) return;
  }
}
