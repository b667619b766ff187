/** One bubblewrap from start to end: script and arguments in, output out, nothing left. */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import type { Duplex, Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { InfrastructureError, messageOf } from '../../errors.ts';
import type { Output, StartOptions } from '../executor.ts';
import { copyOutput } from './copy-output.ts';
import type { OutputPipe } from './pipes.ts';
import { descendantsOf, signalProcess, untilGone } from './process-tree.ts';

const GRACE_MS = 10_000;
const SCRIPT_FD = 3;
const ARGS_FD = 4;
const STATUS_FD = 5;

/** Where the script is in the sandbox: on its read-only root, which no step can write. */
export const SCRIPT_PATH = '/impgem/script';

export interface SandboxProcess {
  bwrap: string;
  /** Arguments that compose the root; passed by descriptor, so that no secret is in a process list. */
  root: string[];
  env: Record<string, string>;
  script: string;
  command: string[];
  /** Program and arguments in front of bubblewrap (it joins the control groups or sets limits). */
  launcher: string[];
}

export interface Ended {
  code: number;
  cancelled: boolean;
  /** The sandbox was set up and its command ran to an end of its own. */
  ran: boolean;
}

export interface RunOptions extends StartOptions {
  /** Aborted: KILL at once. */
  kill: AbortSignal;
}

/** Runs until every process of the sandbox is dead and its output is written. Rejects when the output fails. */
export async function runSandbox(
  spec: SandboxProcess,
  pipe: OutputPipe,
  output: Output,
  options: RunOptions,
): Promise<Ended> {
  const child = start(spec, pipe);
  const exited = waitForExit(child);
  const status = readStatus(streamOf(child, STATUS_FD));
  const copy = copyOutput(pipe.source, output);

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

function start(spec: SandboxProcess, pipe: OutputPipe): ChildProcess {
  const fixed = ['--args', String(ARGS_FD), '--json-status-fd', String(STATUS_FD)];
  const [program = '', ...args] = [...spec.launcher, spec.bwrap, ...fixed, '--', ...spec.command];
  const stdio: StdioOptions = ['ignore', pipe.writeEnd, pipe.writeEnd, 'pipe', 'pipe', 'pipe'];
  try {
    // No environment: bubblewrap itself runs outside, and a variable of the step (LD_PRELOAD) must not reach it.
    const child = spawn(program, args, { stdio, env: {}, cwd: '/' });
    send(child, ARGS_FD, [...spec.root, ...environmentArgs(spec.env)].join('\0') + '\0');
    send(child, SCRIPT_FD, spec.script);
    return child;
  } finally {
    closeSync(pipe.writeEnd);
  }
}

function environmentArgs(env: Record<string, string>): string[] {
  const script = ['--perms', '0444', '--file', String(SCRIPT_FD), SCRIPT_PATH, '--remount-ro', '/'];
  return [...script, '--clearenv', ...Object.entries(env).flatMap(([name, value]) => ['--setenv', name, value])];
}

function send(child: ChildProcess, fd: number, text: string): void {
  const stream = streamOf(child, fd);
  // Bubblewrap that ends early reads no more; its exit says why.
  stream.on('error', () => undefined);
  stream.end(text);
}

/** The types of Node know five descriptors only. */
function streamOf(child: ChildProcess, fd: number): Duplex {
  return (child.stdio as unknown as Duplex[])[fd] as Duplex;
}

async function waitForExit(child: ChildProcess): Promise<number> {
  try {
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
    return code ?? (signal === null ? 1 : 137);
  } catch (error) {
    throw failed(error);
  }
}

/** Bubblewrap's own record: `{ "child-pid": N }` once set up, `{ "exit-code": N }` if the command ran. */
function readStatus(stream: Readable): { init: Promise<number | undefined>; ran: Promise<boolean> } {
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
