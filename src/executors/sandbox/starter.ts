/**
 * A process that starts sandboxes for us, one at a time. Starting them from here would cost more than the sandbox: a fork
 * of Node copies the page tables of its heap, and entering a control group waits for the kernel to settle. A starter is a
 * Bash of a few hundred KiB that has entered its groups once; what it starts is in them from the first instruction.
 *
 * Nothing of a step reaches it but numbers of descriptors and the words of a command. It ends when we do (its stdin
 * closes), and every sandbox ends with it (--die-with-parent).
 */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { InfrastructureError } from '../../errors.ts';
import type { StepGroup } from './cgroups.ts';
import type { JobNetwork } from './network.ts';
import { NAMESPACES } from './root.ts';

export const SCRIPT_FD = 3;
const ARGS_FD = 4;
const STATUS_FD = 5;

/**
 * Reads messages of NUL-ended words: six descriptors of ours (the two of the network's namespaces may be empty), the
 * number of words, the words of the command. Answers with the process of bubblewrap, or an empty line. Job control (-m) keeps SIGINT as it is for background jobs. The pipes are
 * opened by the shell itself, so that they are open when we hear of it.
 */
const START = `set -m
owner=$1; nsenter=$2; shift 2
next() { IFS= read -r -d '' "$1"; }
while next network && next user && next args && next script && next output && next status && next count; do
  command=()
  while ((count-- > 0)); do next word; command+=("$word"); done
  enter=(); [[ $network ]] && enter=("$nsenter" "--net=/proc/$owner/fd/$network")
  [[ $user ]] && enter+=("--user=/proc/$owner/fd/$user" --preserve-credentials)
  pid=
  { "\${enter[@]}" "$@" "\${command[@]}" 2>&1 & pid=$!; } < /dev/null 3< "/proc/$owner/fd/$script" 4< "/proc/$owner/fd/$args" \\
    5> "/proc/$owner/fd/$status" > "/proc/$owner/fd/$output"
  echo "$pid"
done`;

export interface StepDescriptors {
  args: number;
  script: number;
  output: number;
  status: number;
  /** The network that the sandbox is in; undefined: ours. */
  network: JobNetwork | undefined;
}

export interface Starter {
  group: StepGroup | undefined;
  /** Starts bubblewrap, which reads its arguments and the script from these; gives its process. One at a time. */
  start: (descriptors: StepDescriptors, command: string[]) => Promise<number>;
  isAlive: () => boolean;
  /** Ends it and all that it started. */
  close: () => Promise<void>;
}

export interface StarterOptions {
  bwrap: string;
  /** Enters the network of a job. */
  nsenter: string | undefined;
  group: StepGroup | undefined;
  /** Descriptors that our own parent left open for our children: they must not reach a step. */
  inherited: number[];
  /** Covers those. */
  devNull: number;
}

export async function createStarter(options: StarterOptions): Promise<Starter> {
  const { group } = options;
  const bubblewrap = [
    options.bwrap,
    ...NAMESPACES,
    '--args',
    String(ARGS_FD),
    '--json-status-fd',
    String(STATUS_FD),
    '--',
  ];
  const bash = [
    '/bin/bash',
    '--noprofile',
    '--norc',
    '-c',
    START,
    'impgem-starter',
    String(process.pid),
    options.nsenter ?? '',
    ...bubblewrap,
  ];
  const [program = '', ...args] = bash;
  // Detached: Ctrl-C on our terminal is ours to handle. No environment: bubblewrap would inherit it outside.
  const child = spawn(program, args, { stdio: descriptorsOf(options), env: {}, cwd: '/', detached: true });
  const exited = once(child, 'exit').then(
    () => undefined,
    () => undefined,
  );
  const [stdin, stdout] = [child.stdin as Writable, child.stdout as Readable];
  stdin.on('error', () => undefined);
  const answers = createInterface({ input: stdout })[Symbol.asyncIterator]();
  const close = async (): Promise<void> => {
    child.kill('SIGKILL');
    await exited;
    await group?.remove();
  };
  try {
    if (child.pid !== undefined) await group?.add(child.pid);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    group,
    start: async (descriptors, command) => {
      const { args: read, script, output, status, network } = descriptors;
      const namespaces = [network?.network ?? '', network?.user ?? ''];
      const words = [...namespaces, read, script, output, status, command.length, ...command];
      stdin.write(words.map((word) => `${word}\0`).join(''));
      const answer = await answers.next();
      const pid = answer.done === true ? 0 : Number(answer.value);
      if (pid > 0) return pid;
      throw new InfrastructureError(
        'sandbox-failed',
        'Cannot start the sandbox of a step: its starter gave no answer.',
        {
          retryable: true,
        },
      );
    },
    isAlive: () => isRunning(child),
    close,
  };
}

function isRunning(child: ChildProcess): boolean {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null;
}

function descriptorsOf({ inherited, devNull }: StarterOptions): StdioOptions {
  const stdio: StdioOptions = ['pipe', 'pipe', 'ignore'];
  for (const fd of inherited) {
    while (stdio.length < fd) stdio.push('ignore');
    stdio[fd] = devNull;
  }
  return stdio;
}
