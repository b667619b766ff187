/** One sandbox from its start to its end: script in, output out, nothing left. */
import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { InfrastructureError, messageOf } from '../../errors.ts';
import type { Output, StartOptions } from '../executor.ts';
import { copyOutput } from './copy-output.ts';
import type { JobNetwork } from './network.ts';
import type { Pipe, Pipes } from './pipes.ts';
import { descendantsOf, signalProcess, untilGone } from './process-tree.ts';
import { SCRIPT_FD, type Starter } from './starter.ts';

/** Where the script is in the sandbox: on its read-only root, which no step can write. */
export const SCRIPT_PATH = '/impgem/script';

const GRACE_MS = 10_000;
const KILLED = 137;

export interface SandboxInput {
  /** Arguments that compose the root. */
  root: string[];
  env: Record<string, string>;
  script: string;
  command: string[];
  /** Undefined: the host's, or none (said in `root`). */
  network: JobNetwork | undefined;
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

interface Started {
  /** Bubblewrap, outside. */
  pid: number;
  output: Socket;
  status: Socket;
}

/** Runs until every process of the sandbox is dead and its output is written. Rejects when the output fails. */
export async function runSandbox(
  starter: Starter,
  pipes: Pipes,
  input: SandboxInput,
  output: Output,
  options: RunOptions,
): Promise<Ended> {
  const started = await start(starter, await pipes.take(4), input);
  const status = readStatus(started.status);
  const copy = copyOutput(started.output, output);

  let ended = false;
  let cancelled = false;
  let failure: unknown;
  const kill = async (): Promise<void> => {
    const pid = (await status.init) ?? started.pid;
    if (!ended) signalProcess(pid, 'SIGKILL');
  };
  const stop = async (): Promise<void> => {
    cancelled = true;
    const over = new AbortController();
    const grace = delay(options.graceMs ?? GRACE_MS, undefined, { signal: over.signal });
    const init = await status.init;
    if (init !== undefined) await terminateTree(init, () => ended);
    await Promise.race([grace, status.exit]).finally(() => over.abort());
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
    const code = await status.exit;
    const init = await status.init;
    if (init !== undefined) await untilGone(init);
    ended = true;
    await copy.finish();
    if (failure !== undefined) throw failed(failure);
    return { code: code ?? KILLED, cancelled, ran: code !== undefined };
  } finally {
    options.signal.removeEventListener('abort', onAbort);
    options.kill.removeEventListener('abort', onKill);
  }
}

function failed(error: unknown): InfrastructureError {
  return new InfrastructureError('sandbox-failed', `The sandbox failed: ${messageOf(error)}`, { cause: error });
}

async function start(starter: Starter, pipes: Pipe[], input: SandboxInput): Promise<Started> {
  const [args, script, output, status] = pipes as [Pipe, Pipe, Pipe, Pipe];
  try {
    const [read, given] = [args.readEnd, script.readEnd];
    const pid = await starter.start(
      { args: read, script: given, output: output.writeEnd, status: status.writeEnd, network: input.network },
      input.command,
    );
    const scriptInput = writerOf(script);
    const words = [...input.root, ...scriptArgs(), ...environmentArgs(input.env)];
    // The script last: if this process dies halfway, bubblewrap has nothing to run in a half-made sandbox.
    writerOf(args).end(`${words.join('\0')}\0`, () => scriptInput.end(input.script));
    return { pid, output: readerOf(output), status: readerOf(status) };
  } catch (error) {
    for (const pipe of [args, script]) closeSync(pipe.writeEnd);
    for (const pipe of [output, status]) closeSync(pipe.readEnd);
    throw error;
  } finally {
    // The other process has them open by now.
    for (const pipe of [args, script]) closeSync(pipe.readEnd);
    for (const pipe of [output, status]) closeSync(pipe.writeEnd);
  }
}

function writerOf({ writeEnd }: Pipe): Socket {
  const writer = new Socket({ fd: writeEnd, readable: false, writable: true });
  // Bubblewrap that ends early reads no more; its exit says why.
  return writer.on('error', () => undefined);
}

function readerOf({ readEnd }: Pipe): Socket {
  return new Socket({ fd: readEnd, readable: true, writable: false });
}

function scriptArgs(): string[] {
  return ['--perms', '0444', '--file', String(SCRIPT_FD), SCRIPT_PATH, '--remount-ro', '/'];
}

/** By descriptor, so that no secret is in a process list. */
function environmentArgs(env: Record<string, string>): string[] {
  return ['--clearenv', ...Object.entries(env).flatMap(([name, value]) => ['--setenv', name, value])];
}

/** Bubblewrap's own record: `{ "child-pid": N }` once set up, `{ "exit-code": N }` if the command ran, then its end. */
function readStatus(stream: Socket): { init: Promise<number | undefined>; exit: Promise<number | undefined> } {
  let text = '';
  const numberOf = (name: string): number | undefined => {
    const found = new RegExp(`"${name}": *(\\d+)`).exec(text)?.[1];
    return found === undefined ? undefined : Number(found);
  };
  let found: (pid: number | undefined) => void = () => undefined;
  const init = new Promise<number | undefined>((resolve) => {
    found = resolve;
  });
  stream.on('data', (chunk: Buffer) => {
    text += chunk.toString();
    const pid = numberOf('child-pid');
    if (pid !== undefined) found(pid);
  });
  const exit = new Promise<number | undefined>((resolve) => {
    const end = (): void => {
      found(undefined);
      resolve(numberOf('exit-code'));
    };
    stream.on('close', end).on('error', end);
  });
  return { init, exit };
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
