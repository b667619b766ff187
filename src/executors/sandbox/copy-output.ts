/** Copies the pipe of a step to its Output, one write at a time. */
import type { Socket } from 'node:net';
import type { Output } from '../executor.ts';

/** The most that a pipe can still hold when its last writer dies. */
const PIPE_MAX = 1024 * 1024;
/** A pipe that nobody writes to is at its end; this long without a byte shows it. */
const IDLE_MS = 250;

export interface OutputCopy {
  /** Settles at the end of the pipe; rejects with the failure of the output. */
  done: Promise<void>;
  /** All writers are dead: takes what is left in the pipe, and waits for no one who was passed the descriptor. */
  finish: () => Promise<void>;
}

export function copyOutput(source: Socket, output: Output): OutputCopy {
  let moved = 0;
  let writing = false;
  let cut = false;

  const copy = async (): Promise<void> => {
    try {
      for await (const chunk of source as AsyncIterable<Buffer>) {
        writing = true;
        await output.write(chunk);
        writing = false;
        moved += chunk.length;
      }
    } catch (error) {
      if (!cut) throw error;
    } finally {
      source.destroy();
    }
  };
  const done = copy();
  done.catch(() => undefined);

  const finish = async (): Promise<void> => {
    const end = moved + PIPE_MAX;
    let seen = -1;
    const check = setInterval(() => {
      if (writing || (seen !== moved && moved <= end)) {
        seen = moved;
        return;
      }
      cut = true;
      source.destroy();
    }, IDLE_MS);
    try {
      await done;
    } finally {
      clearInterval(check);
    }
  };
  return { done, finish };
}
