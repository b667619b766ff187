/**
 * Reads objects of mirrors through `git cat-file --batch` processes that stay for a while: starting one costs more than all
 * it is asked, and each push asks once or twice. One looks again for packs when it misses an object, so it knows of what
 * was fetched since.
 */
import { spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { InfrastructureError, messageOf } from '../errors.ts';
import { gitEnvironment } from './git-environment.ts';
import { usesSha256 } from './mirror.ts';
import { type GitObject, createBatchAnswers } from './objects.ts';
import { type GitCall, timedOut } from './run-git.ts';

/** Unused for so long, one ends. */
const IDLE_MS = 10_000;
/** Of as many mirrors at once; the one unused for longest makes room. */
const MOST = 16;
/** Of what git says of an error. */
const LONGEST_ERROR = 300;

type ReadCall = Pick<GitCall, 'gitDir' | 'allowFile' | 'timeoutMs'>;

export interface ObjectReader {
  /**
   * Objects by the names that git has for them (no line breaks in them), in that order; undefined for what does not exist.
   * Errors: `git-timeout`, `git-failed`, ImpGemError `git-output-too-large` past `maxBytes` of all together.
   */
  read(call: ReadCall, names: readonly string[], maxBytes: number): Promise<readonly (GitObject | undefined)[]>;
}

export function createObjectReader(idleMs = IDLE_MS): ObjectReader {
  /** The one that was used last comes last. */
  const processes = new Map<string, BatchProcess>();

  const open = (call: ReadCall): { batch: BatchProcess; isNew: boolean } => {
    // A mirror in which nothing was yet may have changed its format since.
    const mirror = `${formatOf(call.gitDir)} ${call.gitDir}`;
    const known = processes.get(mirror);
    processes.delete(mirror);
    const batch = known?.usable() ? known : startBatch(call, idleMs);
    processes.set(mirror, batch);
    for (const [name, oldest] of processes) {
      if (processes.size <= MOST) break;
      processes.delete(name);
      oldest.retire();
    }
    return { batch, isNew: batch !== known };
  };

  return {
    async read(call, names, maxBytes) {
      const { batch, isNew } = open(call);
      try {
        return await batch.ask(names, maxBytes, call.timeoutMs);
      } catch (error) {
        // It may have died of something that is over: a new one says what is wrong.
        if (isNew || !(error instanceof InfrastructureError) || error.code !== 'git-failed') throw error;
        return startBatch(call, 0).ask(names, maxBytes, call.timeoutMs);
      }
    },
  };
}

interface BatchProcess {
  usable(): boolean;
  /** One after the other. */
  ask(names: readonly string[], maxBytes: number, timeoutMs: number): Promise<readonly (GitObject | undefined)[]>;
  /** Ends when it has answered. */
  retire(): void;
}

function startBatch(call: ReadCall, idleMs: number): BatchProcess {
  const { gitDir, allowFile, timeoutMs } = call;
  const child = spawn('git', ['cat-file', '--batch'], {
    env: { ...gitEnvironment({ allowFile, timeoutMs }), GIT_DIR: gitDir },
    stdio: 'pipe',
  });
  let said = '';
  let over = false;
  let retired = false;
  let asking = 0;
  let idle: NodeJS.Timeout | undefined;
  let last: Promise<unknown> = Promise.resolve();
  child.once('close', () => (over = true));
  child.once('error', (error) => (said = error.message));
  child.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString('utf8')).slice(-LONGEST_ERROR)));
  child.stdin.on('error', () => undefined); // It ended; its end says more.

  /** Who waits for nothing but the next question keeps no process alive. */
  const hold = (held: boolean): void => {
    const streams = [child.stdin, child.stdout, child.stderr].filter((stream) => stream instanceof Socket);
    for (const part of [child, ...streams])
      if (held) part.ref();
      else part.unref();
  };
  const end = (): void => {
    retired = true;
    child.stdin.end();
  };

  const answer = async (names: readonly string[], maxBytes: number, limitMs: number) => {
    const answers = createBatchAnswers(names.length, maxBytes);
    const asked = new AbortController();
    const timeout = AbortSignal.timeout(limitMs);
    try {
      if (over) throw failed(said);
      await new Promise<void>((resolve, reject) => {
        const onData = (chunk: Buffer): void => {
          try {
            if (answers.push(chunk)) resolve();
          } catch (error) {
            reject(error instanceof Error ? error : failed(messageOf(error)));
          }
        };
        const onEnd = (): void => reject(failed(said));
        child.stdout.on('data', onData).resume();
        child.once('close', onEnd);
        timeout.addEventListener('abort', () => reject(timedOut({ timeoutMs: limitMs }, 'cat-file')));
        asked.signal.addEventListener('abort', () => {
          child.stdout.off('data', onData).pause();
          child.off('close', onEnd);
        });
        child.stdin.write(`${names.join('\n')}\n`);
      });
      return answers.found;
    } catch (error) {
      // Half an answer is left in it.
      retired = true;
      child.kill('SIGKILL');
      throw error;
    } finally {
      asked.abort();
    }
  };

  return {
    usable: () => !over && !retired,
    async ask(names, maxBytes, limitMs) {
      clearTimeout(idle);
      if (asking++ === 0) hold(true);
      const turn = last.then(() => answer(names, maxBytes, limitMs));
      last = turn.catch(() => undefined);
      try {
        return await turn;
      } finally {
        if (--asking === 0) {
          hold(false);
          if (retired) end();
          else idle = setTimeout(end, idleMs).unref();
        }
      }
    },
    retire() {
      retired = true;
      if (asking === 0) end();
    },
  };
}

function failed(said: string): InfrastructureError {
  const words =
    said
      .trim()
      .split('\n')
      .at(-1)
      ?.replace(/[\p{Cc}]/gu, ' ')
      .replace(/^(?:fatal|error): /, '') ?? '';
  return new InfrastructureError('git-failed', `git cat-file failed: ${words}`, { retryable: true });
}

/** Of what is no mirror git says what is wrong. */
function formatOf(mirror: string): string {
  try {
    return usesSha256(mirror) ? 'sha256' : 'sha1';
  } catch {
    return '';
  }
}
