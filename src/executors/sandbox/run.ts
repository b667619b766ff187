/** One sandbox from its start to its end: script in, output out, nothing left. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Duplex } from 'node:stream';
import { InfrastructureError, messageOf } from '../../errors.ts';
import type { Output, StartOptions } from '../executor.ts';
import { copyOutput } from './copy-output.ts';
import { SCRIPT_FD, SCRIPT_PATH, type Launch } from './launch.ts';
import { descendantsOf, signalProcess, untilGone } from './process-tree.ts';

const GRACE_MS = 10_000;

export interface SandboxInput {
  /** Arguments that compose the root. */
  root: string[];
  env: Record<string, string>;
  script: string;
}

export interface RunOptions extends StartOptions {
  /** Aborted: KILL at once. */
  kill: AbortSignal;
}

export interface Ended {
  code: number;
  cancelled: boolean;
  /** The sandbox was set up and its command ran to an end of its own. */
  ran: boolean;
}

/** Runs until every process of the sandbox is dead and its output is written. Rejects when the output fails. */
export async function runSandbox(
  launch: Launch,
  input: SandboxInput,
  output: Output,
  options: RunOptions,
): Promise<Ended> {
  const { child, exited } = launch;
  const status = readStatus(launch.status);
  const copy = copyOutput(launch.output, output);
  launch.tell([...input.root, ...scriptArgs(), ...environmentArgs(input.env)], input.script);

  let ended = false;
  let cancelled = false;
  let failure: unknown;
  const kill = async (): Promise<void> => {
    const pid = (await status.init) ?? child.pid;
    if (pid !== undefined && !ended) signalProcess(pid, 'SIGKILL');
  };
  const stop = async (): Promise<void> => {
    cancelled = true;
    const over = new AbortController();
    const grace = delay(options.graceMs ?? GRACE_MS, undefined, { signal: over.signal });
    const init = await status.init;
    if (init !== undefined) await terminateTree(init, () => ended);
    await Promise.race([grace, exited]).finally(() => over.abort());
    await kill();
  };
  const note = (error: unknown): void => {
    failure ??= error;
  };
  const onAbort = (): void => void stop().catch(note);
  const onKill = (): void => {
    cancelled = true;
    kill().catch(note);
  };
  options.signal.addEventListener('abort', onAbort);
  options.kill.addEventListener('abort', onKill);
  if (options.signal.aborted) onAbort();
  if (options.kill.aborted) onKill();
  copy.done.catch(() => kill().catch(note));

  try {
    const code = await exited;
    const init = await status.init;
    if (init !== undefined) await untilGone(init);
    ended = true;
    await copy.finish();
    if (failure !== undefined) throw failed(failure);
    return { code, cancelled, ran: await status.ran };
  } finally {
    options.signal.removeEventListener('abort', onAbort);
    options.kill.removeEventListener('abort', onKill);
  }
}

function failed(error: unknown): InfrastructureError {
  return new InfrastructureError('sandbox-failed', `The sandbox failed: ${messageOf(error)}`, { cause: error });
}

function scriptArgs(): string[] {
  return ['--perms', '0444', '--file', String(SCRIPT_FD), SCRIPT_PATH, '--remount-ro', '/'];
}

/** By descriptor, so that no secret is in a process list. */
function environmentArgs(env: Record<string, string>): string[] {
  return ['--clearenv', ...Object.entries(env).flatMap(([name, value]) => ['--setenv', name, value])];
}

/** Bubblewrap's own record: `{ "child-pid": N }` once set up, `{ "exit-code": N }` if the command ran. */
function readStatus(stream: Duplex): { init: Promise<number | undefined>; ran: Promise<boolean> } {
  let text = '';
  let found: (pid: number | undefined) => void = () => undefined;
  const init = new Promise<number | undefined>((resolve) => {
    found = resolve;
  });
  stream.on('data', (chunk: Buffer) => {
    text += chunk.toString();
    const pid = /"child-pid": *(\d+)/.exec(text)?.[1];
    if (pid !== undefined) found(Number(pid));
  });
  const ran = new Promise<boolean>((resolve) => {
    const end = (): void => {
      found(undefined);
      resolve(text.includes('"exit-code"'));
    };
    stream.on('close', end).on('error', end);
  });
  return { init, ran };
}

/** TERM to every process of the step. Its first process is bubblewrap's own, and stays to reap. */
async function terminateTree(init: number, isOver: () => boolean): Promise<void> {
  let tree = await descendantsOf(init);
  // Cancelled while it starts: the script's process is a moment away.
  while (tree.length === 0 && !isOver()) {
    await delay(2);
    tree = await descendantsOf(init);
  }
  for (const pid of tree) signalProcess(pid, 'SIGTERM');
}
