import { ImpGemError } from '../errors.ts';
import { type Patience, request, type ServerAddress } from '../request.ts';
import type { LogKey } from '../runs/run.ts';
import type { LogWriter } from '../worker/ports.ts';
import { NO_JOB } from './log-key.ts';

/** Bytes of one request at most; the server need not take larger ones. */
const LOG_BLOCK = 1024 * 1024;

/**
 * The log store of a server that shares no disk with us, for one job. Every request is repeated while the server is away,
 * and the step's output waits meanwhile: the same bytes at the same offset are harmless. Errors: those of the log store, `token-refused`, `server-unreachable`.
 */
export function createHttpLogWriter(server: ServerAddress, patience: Patience): LogWriter {
  return {
    length: async (key) => {
      const answer = await request(server, patience, { method: 'GET', path: pathOf(key) });
      const length = typeof answer === 'object' && answer !== null && 'length' in answer ? answer.length : undefined;
      if (typeof length === 'number') return length;
      throw new ImpGemError('server-answer', 'The server answered with something else than the length of a log.');
    },
    append: async (key, offset, bytes) => {
      for (let at = 0; at < bytes.length; at += LOG_BLOCK) {
        const block = bytes.subarray(at, at + LOG_BLOCK);
        await request(server, patience, {
          method: 'PUT',
          path: `${pathOf(key)}?offset=${offset + at}`,
          body: () => block,
        });
      }
    },
    close: async (key) => {
      await request(server, patience, { method: 'POST', path: `${pathOf(key)}/close` });
    },
  };
}

function pathOf({ run, job, attempt, part }: LogKey): string {
  const names = [run, job === '' ? NO_JOB : job, String(attempt), part].map(encodeURIComponent);
  return `/api/worker/logs/${names.join('/')}`;
}
