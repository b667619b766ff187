/** What both executors share: how a task's script is run, its environment, and how its files are read afterwards. */
import { isUtf8 } from 'node:buffer';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { InputError } from '../errors.ts';
import { HANDOVER_LIMIT, STEP_PATHS, type Handover, type Task } from './executor.ts';

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export const HANDOVER_FILES = ['env', 'output', 'path', 'summary'] as const;

/** One string of an execve may have 128 KiB, its end included (MAX_ARG_STRLEN). */
const LONGEST_VARIABLE = 128 * 1024 - 1;

/** Command that runs a script file: `-eo pipefail`, no start-up files. */
export function shellCommand(shell: Task['shell'], script: string): string[] {
  return shell === 'bash'
    ? ['/bin/bash', '--noprofile', '--norc', '-eo', 'pipefail', script]
    : ['/bin/sh', '-e', script];
}

/**
 * Script for `sh -c TEXT sh FOLDER COMMAND...`: enters a folder of the workspace, then becomes the command. It runs inside
 * the step, where links mean what they mean to the step; a folder outside the workspace is refused.
 */
const ENTER_FOLDER = `cd -P -- "${STEP_PATHS.workspace}/$1" 2>/dev/null || { echo "working-directory not found: $1" >&2; exit 1; }
case "$PWD/" in
${STEP_PATHS.workspace}/*) shift; exec "$@" ;;
*) echo "working-directory leaves the workspace: $1" >&2; exit 1 ;;
esac`;

/** The whole command of a task, entering its working directory first. */
export function taskCommand(task: Pick<Task, 'shell' | 'workingDirectory'>, script: string): string[] {
  const command = shellCommand(task.shell, script);
  if (task.workingDirectory === undefined) return command;
  if (task.workingDirectory.includes('\0')) {
    throw new InputError('working-directory-invalid', 'The working-directory holds a NUL character.');
  }
  return ['/bin/sh', '-c', ENTER_FOLDER, 'sh', task.workingDirectory, ...command];
}

/** Environment with PATH and HOME filled in. InputError `environment-invalid` for what no process can be given. */
export function environmentOf(task: Pick<Task, 'env' | 'path'>): Record<string, string> {
  const path = [...task.path, task.env['PATH'] ?? DEFAULT_PATH].join(':');
  const env = { HOME: STEP_PATHS.home, ...task.env, PATH: path };
  for (const [name, value] of Object.entries(env)) {
    if (name === '' || /[=\0]/.test(name) || value.includes('\0')) {
      throw new InputError(
        'environment-invalid',
        `The variable ${JSON.stringify(name)} cannot be passed to a process: no "=" in the name, no NUL character.`,
      );
    }
    if (Buffer.byteLength(name) + Buffer.byteLength(value) + 1 > LONGEST_VARIABLE) {
      throw new InputError(
        'environment-invalid',
        `The variable ${name} is longer than the 128 KiB that a process can be given: write it to a file instead.`,
      );
    }
  }
  return env;
}

/**
 * Reads what a step left in its folder once all its processes are dead. The step may have put anything there: links are
 * not followed, a pipe does not block, only regular files count, and at most HANDOVER_LIMIT bytes of each are read (a
 * longer file is cut to exactly that).
 */
export function readHandover(folder: string): Handover {
  const [env, output, path, summary] = HANDOVER_FILES.map((name) => readBounded(join(folder, name)));
  return { env: env ?? '', output: output ?? '', path: path ?? '', summary: summary ?? '' };
}

/** Text as `Handover` has it. */
export function decodeHandover(bytes: Buffer): string {
  const text = bytes.toString('utf8');
  return isUtf8(bytes) ? text : text.replaceAll('\ufffd', '\udfff');
}

/** Synchronous: nothing here can block, and most files are empty, so that waiting for a thread is what would cost. */
function readBounded(path: string): string {
  const file = openUnfollowed(path);
  if (file === undefined) return '';
  try {
    const stat = fstatSync(file);
    if (!stat.isFile()) return '';
    const buffer = Buffer.alloc(Math.min(stat.size, HANDOVER_LIMIT));
    let length = 0;
    while (length < buffer.length) {
      const bytes = readSync(file, buffer, length, buffer.length - length, length);
      if (bytes === 0) break;
      length += bytes;
    }
    return decodeHandover(buffer.subarray(0, length));
  } finally {
    closeSync(file);
  }
}

/** Undefined for what is missing, a link, or unreadable: the step wrote nothing that counts. */
function openUnfollowed(path: string): number | undefined {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch {
    return undefined;
  }
}
