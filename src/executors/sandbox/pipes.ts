/**
 * Real pipes. Node gives a child sockets, which `/dev/stdout` cannot open and which are slower; so FIFOs are made ahead,
 * both ends are opened here, and the name is removed before anyone else can see it. Another process of ours opens an end
 * as `/proc/PID/fd/N`.
 */
import { execFile } from 'node:child_process';
import { closeSync, constants, openSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { InfrastructureError, messageOf } from '../../errors.ts';

export interface Pipe {
  readEnd: number;
  writeEnd: number;
}

export interface Pipes {
  /** Opens pipes; the descriptors are the caller's to close. */
  take: (count: number) => Promise<Pipe[]>;
}

const BATCH = 64;
const LOW = 16;

/** `folder` is private to this process. */
export function createPipes(folder: string): Pipes {
  const names: string[] = [];
  let made = 0;
  let making: Promise<void> | undefined;

  const make = async (): Promise<void> => {
    const fresh = Array.from({ length: BATCH }, (_, n) => join(folder, `pipe-${made + n}`));
    made += BATCH;
    await promisify(execFile)('mkfifo', ['-m', '600', '--', ...fresh]);
    names.push(...fresh);
  };
  const refill = (): Promise<void> => {
    making ??= make().finally(() => {
      making = undefined;
    });
    return making;
  };

  return {
    take: async (count) => {
      try {
        while (names.length < count) await refill();
        const taken = names.splice(0, count).map(openPipe);
        // Ahead of need; a failure shows where the next one waits for it.
        if (names.length < LOW) refill().catch(() => undefined);
        return taken;
      } catch (error) {
        throw new InfrastructureError('sandbox-pipe', `Cannot make the pipes of a step: ${messageOf(error)}`, {
          cause: error,
          retryable: true,
        });
      }
    },
  };
}

function openPipe(name: string): Pipe {
  const readEnd = openSync(name, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    return { readEnd, writeEnd: openSync(name, constants.O_WRONLY) };
  } catch (error) {
    closeSync(readEnd);
    throw error;
  } finally {
    unlinkSync(name);
  }
}
