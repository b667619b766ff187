/** One child process, started again with backoff when it ends by itself. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';

export interface Part {
  name: string;
  command: string;
  args: string[];
  env: NodeJS.ProcessEnv;
  /** Its lines are said only when it ends by itself. */
  quiet?: boolean;
}

export interface Supervised {
  readonly pid: number | undefined;
  /** TERM, then KILL after `graceMs`. Settles when the process is gone; it is not started again. */
  stop(graceMs: number): Promise<void>;
  kill(): void;
}

/** A supervisor that is killed with -9 stops nobody; so the kernel tells its parts. (util-linux; without it they stay.) */
const DIES_WITH_US = existsSync('/usr/bin/setpriv') ? ['/usr/bin/setpriv', '--pdeathsig', 'TERM', '--'] : [];
const FIRST_DELAY_MS = 200;
const MAX_DELAY_MS = 10_000;
/** A part that ran this long is healthy again. */
const HEALTHY_MS = 30_000;
/** Last lines of a quiet part. */
const TAIL = 20;

/** `say` gets the part's own lines (stderr and stdout) and what happens to it. */
export function supervise(part: Part, say: (line: string) => void): Supervised {
  let child: ChildProcess | undefined;
  let stopping = false;
  let delay = FIRST_DELAY_MS;
  let timer: NodeJS.Timeout | undefined;
  let gone: (() => void) | undefined;

  let tail: string[] = [];
  const hear = (line: string): void => {
    if (part.quiet) tail = [...tail, line].slice(-TAIL);
    else say(line);
  };

  const start = (): void => {
    const startedAt = Date.now();
    const [command, ...args] = [...DIES_WITH_US, part.command, ...part.args];
    const next = spawn(command ?? part.command, args, {
      env: part.env,
      stdio: ['ignore', 'pipe', 'pipe'],
      // In a group of its own, or Ctrl-C in a terminal would reach it, too: whom to stop, and when, is said by `stop`.
      detached: true,
    });
    child = next;
    for (const stream of [next.stdout, next.stderr]) createInterface({ input: stream }).on('line', hear);
    next.once('error', (error) => say(`${part.name}: cannot be started: ${error.message}`));
    next.once('close', (code, signal) => {
      child = undefined;
      if (stopping) {
        gone?.();
        return;
      }
      for (const line of tail) say(line);
      tail = [];
      if (Date.now() - startedAt > HEALTHY_MS) delay = FIRST_DELAY_MS;
      say(`${part.name}: ended (${signal ?? `exit code ${String(code)}`}); it is started again in ${delay} ms`);
      timer = setTimeout(start, delay);
      delay = Math.min(delay * 2, MAX_DELAY_MS);
    });
  };
  start();

  return {
    get pid() {
      return child?.pid;
    },
    async stop(graceMs) {
      stopping = true;
      clearTimeout(timer);
      const running = child;
      if (!running) return;
      const ended = new Promise<void>((resolve) => (gone = resolve));
      running.kill('SIGTERM');
      const force = setTimeout(() => running.kill('SIGKILL'), graceMs);
      await ended;
      clearTimeout(force);
    },
    kill() {
      stopping = true;
      child?.kill('SIGKILL');
    },
  };
}
