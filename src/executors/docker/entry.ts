/**
 * What runs in a step's container before the step's script. The entry process is a plain `sh` that waits for commands on
 * its stdin; they come when it is the step's turn, in one group that the shell runs only once it has read it whole.
 */
import { STEP_PATHS, type Task } from '../executor.ts';
import { environmentOf, taskCommand } from '../shell.ts';
import { endRecordFormat } from './end-record.ts';

/** How a container waits for its commands, and the processes that this takes: more after a script's end are its daemons. */
export interface Entry {
  command: readonly string[];
  processes: number;
}

/** Where a step's container sees the folder of its script and its output. */
export const CONTROL = '/impgem/control';
/** Written when its commands have come. */
export const SCRIPT = `${CONTROL}/script`;

/** Before what is ours in an image, which may have any PATH: the image's own comes first. */
export const USUAL_PATH = 'PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * Output goes through a pipe and `cat` to a file, not straight to the file: scripts write to /dev/stderr by name, and
 * opening a file by that name would truncate it. TERM is for the script alone, so `cat` lives on to copy its last words.
 * The file is open before anything of the step can run, which may put a link, a pipe or a folder in its place.
 * Without `cat` it ends before it could take a script; the PATH is changed for `cat` alone.
 */
export const ENTRY_TO_FILE: Entry = {
  command: [
    '/bin/sh',
    '-c',
    `exec 3>>${CONTROL}/log; set -- "$PATH"; ${USUAL_PATH}; command -v cat >/dev/null || exit 127; PATH=$1
/bin/sh 2>&1 3>&- | (trap '' TERM; ${USUAL_PATH}; exec cat >&3 3>&-)`,
  ],
  processes: 3,
};

/** Output goes to the engine, through one pipe so that its order is kept. */
export const ENTRY_TO_ENGINE: Entry = { command: ['/bin/sh', '-c', 'exec /bin/sh 2>&1'], processes: 1 };

/** Ends every process of a container but the entry's own: TERM reaches the whole tree, daemons included. */
export const TERMINATE_ALL = ['/bin/sh', '-c', 'kill -s TERM -- -1'] as const;

/** Where a command for bash has it. */
const BASH = '/bin/bash';

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
/** Variables that some shells refuse to have assigned; `env` passes them all the same. */
const READ_ONLY = new Set(['UID', 'EUID', 'PPID', 'BASHOPTS', 'SHELLOPTS', 'BASH_VERSINFO', 'OPTIND']);

/**
 * It ends when its stdin does, or by force: for the end of a container the engine takes milliseconds of all processors, in
 * which the next step would begin.
 */
const REST = 'while read -r line; do :; done; exit';

/** The commands that run `task`, for the stdin of the entry process. */
export function renderCommands(task: Task, nonce: string, entry: Entry): string {
  // The PATH of the image stands unless the task has its own.
  const { PATH, ...environment } = environmentOf({ env: task.env, path: [] });
  const path = [...task.path, ...(task.env['PATH'] === undefined ? [] : [PATH ?? ''])].join(':');
  const plain = Object.entries(environment).filter(([name]) => isPlain(name));
  const odd = Object.entries(environment).filter(([name]) => !isPlain(name));
  const words = taskCommand(task, SCRIPT);
  const bash = task.shell === 'bash' ? words.lastIndexOf(BASH) : -1;
  const command = words.map((word, at) => (at === bash ? '"$1"' : quote(word))).join(' ');
  const wrapper =
    odd.length > 0 ? `env PATH="$2" ${odd.map(([name, value]) => quote(`${name}=${value}`)).join(' ')} ` : '';
  const finish = (code: string) =>
    `code=${code}; set -- /proc/[0-9]*; printf '${endRecordFormat(nonce)}' "$code" "$(($# - ${entry.processes}))"; ${REST}`;
  return [
    '{',
    // A handler, not "ignore": a child gets the default back, and the script is meant to feel it.
    'trap : TERM',
    `printf %s ${quote(task.script)} >${SCRIPT}`,
    ...(task.shell === 'bash'
      ? [
          `set -- ${BASH}`,
          // As the image's PATH has it: the image bash:5 keeps it elsewhere.
          `[ -x ${BASH} ] || set -- "$(command -v bash)"`,
          `if [ -z "$1" ]; then echo 'This image has no bash: use "shell: sh" for this step'; ${finish('127')}; fi`,
        ]
      : []),
    // The entry's own words, such as "Killed", are no output of the script.
    'exec 2>/dev/null',
    // In a process that becomes the script: IFS, GLOBIGNORE and their like would change what the entry itself does.
    '(unset HOSTNAME',
    ...plain.map(([name, value]) => `export ${name}=${quote(value)}`),
    ...(path === '' ? [] : [`export PATH=${quote(path)}${task.env['PATH'] === undefined ? ':"$PATH"' : ''}`]),
    `cd ${STEP_PATHS.workspace}`,
    ...(odd.length === 0 ? [] : [`set -- "$1" "$PATH"; ${USUAL_PATH}`]),
    `exec ${wrapper}${command} </dev/null 2>&1)`,
    finish('$?'),
    '}',
    '',
  ].join('\n');
}

function isPlain(name: string): boolean {
  return NAME.test(name) && !READ_ONLY.has(name);
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
