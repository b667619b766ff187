/**
 * Bubblewrap, started but told nothing yet: it waits for its arguments, already in its control groups and with its output
 * pipe. So it can be started ahead of its step, and nothing of a step runs before its limits hold.
 */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import type { Duplex } from 'node:stream';
import { InfrastructureError, messageOf } from '../../errors.ts';
import type { Limits } from '../../runs/plan.ts';
import type { Task } from '../executor.ts';
import { taskCommand } from '../shell.ts';
import type { SandboxHost } from './host.ts';
import type { OutputPipe } from './pipes.ts';
import { NAMESPACES } from './root.ts';
import type { StepGroups, TakenGroup } from './step-groups.ts';

/** Where the script is in the sandbox: on its read-only root, which no step can write. */
export const SCRIPT_PATH = '/impgem/script';
export const SCRIPT_FD = 3;
const ARGS_FD = 4;
const STATUS_FD = 5;

export type LaunchTask = Pick<Task, 'shell' | 'limits' | 'workingDirectory'>;

export interface Launch {
  child: ChildProcess;
  output: OutputPipe['source'];
  group: TakenGroup | undefined;
  /** The process of the child has ended, with this code (a signal n is 128 + n). */
  exited: Promise<number>;
  /** Where bubblewrap writes its own record. */
  status: Duplex;
  /** Tells what to do, and the script. Without both nothing runs. */
  tell: (args: string[], script: string) => void;
}

export async function launch(host: SandboxHost, groups: StepGroups | undefined, task: LaunchTask): Promise<Launch> {
  const limits = { ...host.limits, ...task.limits };
  const command = taskCommand(task, SCRIPT_PATH);
  const pipe = await host.pipes.take();
  const group = groups?.take(limits);
  try {
    const launcher = group === undefined ? limitProcess(host, limits) : [];
    const fixed = [...NAMESPACES, '--args', String(ARGS_FD), '--json-status-fd', String(STATUS_FD), '--'];
    const [program = '', ...args] = [...launcher, host.bwrap, ...fixed, ...command];
    // No environment: bubblewrap itself runs outside, and a variable of the step (LD_PRELOAD) must not reach it.
    const child = spawn(program, args, { stdio: descriptors(host, pipe.writeEnd), env: {}, cwd: '/' });
    const exited = waitForExit(child);
    exited.catch(() => undefined);
    confine(child, group);
    const tell = (rest: string[], script: string): void => {
      const send = (fd: number, text: string, then?: () => void): void => void streamOf(child, fd).end(text, then);
      // The script last: if this process dies halfway, bubblewrap has nothing to run in a half-made sandbox.
      send(ARGS_FD, `${rest.join('\0')}\0`, () => send(SCRIPT_FD, script));
    };
    // Bubblewrap that ends early reads no more; its exit says why.
    for (const fd of [SCRIPT_FD, ARGS_FD]) streamOf(child, fd).on('error', () => undefined);
    return { child, output: pipe.source, group, exited, status: streamOf(child, STATUS_FD), tell };
  } catch (error) {
    pipe.source.destroy();
    await group?.release(false);
    throw error;
  } finally {
    closeSync(pipe.writeEnd);
  }
}

/** For a launch that is not needed: it was never told anything. */
export async function discard(launched: Launch): Promise<void> {
  launched.child.kill('SIGKILL');
  await launched.exited;
  launched.output.destroy();
  await launched.group?.release(true);
}

function confine(child: ChildProcess, group: TakenGroup | undefined): void {
  if (child.pid === undefined) return;
  try {
    group?.add(child.pid);
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
}

/**
 * Output twice, and ours. A descriptor that our own parent left open for its children would reach the steps: those are
 * covered with the harmless end of a pipe.
 */
function descriptors(host: SandboxHost, output: number): StdioOptions {
  const stdio: StdioOptions = ['ignore', output, output, 'pipe', 'pipe', 'pipe'];
  for (const fd of host.inherited) {
    while (stdio.length < fd) stdio.push('ignore');
    stdio[fd] = output;
  }
  return stdio;
}

/**
 * Where we may not make control groups, each process has limits of its own. Data, not address space: runtimes reserve far
 * more addresses than they use. The number of processes counts in the sandbox's own user namespace. CPU has no such limit.
 */
function limitProcess(host: SandboxHost, limits: Limits): string[] {
  const options = [
    ...(limits.memory === undefined ? [] : [`--data=${limits.memory}`]),
    ...(limits.pids === undefined ? [] : [`--nproc=${limits.pids}`]),
  ];
  return host.prlimit === undefined || options.length === 0 ? [] : [host.prlimit, ...options, '--'];
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
    throw new InfrastructureError('sandbox-failed', `Cannot start the sandbox: ${messageOf(error)}`, { cause: error });
  }
}
