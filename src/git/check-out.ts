import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { ImpGemError, InfrastructureError } from '../errors.ts';
import { gitEnvironment } from './git-environment.ts';
import { type GitCall, runGit } from './run-git.ts';

/** What one commit may unpack to, and one fetch may bring. */
export interface CloneLimits {
  bytes: number;
  files: number;
}

/** What is checked out sooner is no bomb: most repositories are never measured, and a first log line never waits for it. */
const MEASURED_AFTER_MS = 300;

/**
 * Checks HEAD out into the work tree. A few KiB of trees that name each other stand for any number of files (a git bomb):
 * they are counted beside the checkout, which ends when there are too many. ImpGemError `commit-unknown`,
 * `workspace-too-large`.
 */
export async function checkOut(call: Omit<GitCall, 'args'>, limits: CloneLimits): Promise<void> {
  const tooLarge = new AbortController();
  const over = new AbortController();
  const measuring = delay(MEASURED_AFTER_MS, undefined, { signal: over.signal })
    .then(() => exceeds(call, limits, over.signal))
    .then((exceeded) => {
      if (exceeded) tooLarge.abort();
    })
    // Over before it was measured; what is wrong with the commit, the checkout itself says.
    .catch(() => undefined);
  const signal = AbortSignal.any([tooLarge.signal, ...(call.signal ? [call.signal] : [])]);
  try {
    // Unlike `reset` it leaves HEAD alone: four files less. It tells its progress (-v, at once) only because simple-git
    // waits 50 ms for a command that says nothing.
    const env = { ...call.env, GIT_PROGRESS_DELAY: '0' };
    await runGit({ ...call, signal, env, args: ['read-tree', '--reset', '-u', '-v', 'HEAD'] });
  } catch (error) {
    if (tooLarge.signal.aborted) throw tooLargeError(limits, error);
    if (error instanceof InfrastructureError && error.code === 'git-failed' && isMissing(error.cause))
      throw new ImpGemError('commit-unknown', 'The mirror does not have the commit', { cause: error });
    throw error;
  } finally {
    over.abort();
    await measuring;
  }
}

function tooLargeError({ bytes, files }: CloneLimits, cause: unknown): ImpGemError {
  return new ImpGemError(
    'workspace-too-large',
    `The commit has more than ${files} files, or more than ${bytes} bytes in them (IMPGEM_CLONE_FILES, IMPGEM_CLONE_LIMIT)`,
    { cause },
  );
}

function isMissing(cause: unknown): boolean {
  return cause instanceof Error && /unpack tree object|bad object|valid object|unable to read/i.test(cause.message);
}

/**
 * Whether HEAD has more files, or more bytes in them, than it may. Not by runGit, which keeps what git prints: a bomb
 * prints without end.
 */
async function exceeds(call: Omit<GitCall, 'args'>, limits: CloneLimits, signal: AbortSignal): Promise<boolean> {
  const child = spawn('git', ['ls-tree', '-r', '-l', '-z', '--full-tree', 'HEAD'], {
    env: { ...gitEnvironment(call), GIT_DIR: call.gitDir },
    stdio: ['ignore', 'pipe', 'ignore'],
    signal,
    killSignal: 'SIGKILL',
  });
  const closed = once(child, 'close');
  closed.catch(() => undefined);
  const count = createCounter();
  try {
    for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
      const { files, bytes } = count(chunk);
      if (files > limits.files || bytes > limits.bytes) return true;
    }
    return false;
  } finally {
    child.kill('SIGKILL');
    await closed;
  }
}

/** Counts `MODE TYPE ID SIZE TAB PATH NUL`, however it is cut. Paths, which may be long, are not kept. */
export function createCounter(): (chunk: Buffer) => { files: number; bytes: number } {
  let head = '';
  let inPath = false;
  const seen = { files: 0, bytes: 0 };
  return (chunk) => {
    let at = 0;
    while (at < chunk.length) {
      const end = chunk.indexOf(inPath ? 0 : 0x09, at);
      if (!inPath) head += chunk.toString('latin1', at, end < 0 ? chunk.length : end);
      if (end < 0) break;
      if (inPath) {
        // `-` for a submodule.
        const size = Number(head.split(/ +/)[3]);
        seen.files += 1;
        seen.bytes += Number.isFinite(size) ? size : 0;
        head = '';
      }
      inPath = !inPath;
      at = end + 1;
    }
    return seen;
  };
}
