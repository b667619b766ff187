/**
 * Real pipes for the output of steps. Node gives a child a socket, which `/dev/stdout` cannot open and which is slower; so
 * a few FIFOs are kept ready, both ends are opened here, and the name is removed before anyone else can see it.
 */
import { execFile } from 'node:child_process';
import { closeSync, constants, openSync, unlinkSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { InfrastructureError, messageOf } from '../../errors.ts';

export interface OutputPipe {
  source: Socket;
  /** The end for the child: close it once the child is started. */
  writeEnd: number;
}

export interface Pipes {
  take: () => Promise<OutputPipe>;
}

const READY = 16;

/** `folder` is private to this process. */
export function createPipes(folder: string): Pipes {
  const names: string[] = [];
  let made = 0;
  let making: Promise<void> | undefined;

  const make = async (): Promise<void> => {
    const fresh = Array.from({ length: READY }, (_, n) => join(folder, `output-${made + n}`));
    made += READY;
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
    take: async () => {
      try {
        while (names.length === 0) await refill();
        const name = names.pop() ?? '';
        // Ahead of need; a failure shows where the next one waits for it.
        if (names.length === READY / 4) refill().catch(() => undefined);
        return openPipe(name);
      } catch (error) {
        throw new InfrastructureError('sandbox-pipe', `Cannot make a pipe for a step: ${messageOf(error)}`, {
          cause: error,
          retryable: true,
        });
      }
    },
  };
}

function openPipe(name: string): OutputPipe {
  const readEnd = openSync(name, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const writeEnd = openSync(name, constants.O_WRONLY);
    return { source: new Socket({ fd: readEnd, readable: true, writable: false }), writeEnd };
  } catch (error) {
    closeSync(readEnd);
    throw error;
  } finally {
    unlinkSync(name);
  }
}
