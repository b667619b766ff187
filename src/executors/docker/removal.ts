/** Removes containers and networks in the background: in order, one at a time, and not while others are being started. */
import type Docker from 'dockerode';
import { engineError, isGone, isUnreachable, statusOf } from './engine.ts';

export interface Removal {
  container(id: string): Promise<void>;
  volume(name: string): Promise<void>;
  /** After all removals asked for before it. */
  network(id: string): Promise<void>;
  /** Tries once more what an engine that was away could not remove. */
  again(): void;
  /** Settles when all that was asked for is gone, or was tried. */
  idle(): Promise<void>;
}

/** So many may wait; then removals go on beside starts. */
const PATIENCE = 24;

/** `quiet`: settles when nothing more urgent is going on. `onError` hears of what could not be removed. */
export function createRemoval(docker: Docker, quiet: () => Promise<void>, onError: (error: Error) => void): Removal {
  let chain: Promise<void> = Promise.resolve();
  let waiting = 0;
  let left: (() => void)[] = [];

  async function remove(what: string, call: () => Promise<unknown>): Promise<void> {
    if (waiting <= PATIENCE) await quiet();
    try {
      await call();
    } catch (error) {
      // 409: being removed by somebody else already.
      if (isGone(error) || statusOf(error) === 409) return;
      const failure = engineError(error, `remove the ${what}`);
      if (isUnreachable(failure)) left.push(() => void add(what, call));
      onError(failure);
    } finally {
      waiting--;
    }
  }

  function add(what: string, call: () => Promise<unknown>): Promise<void> {
    waiting++;
    chain = chain.then(() => remove(what, call));
    return chain;
  }

  return {
    container: (id) => add(`container ${id}`, () => docker.getContainer(id).remove({ force: true, v: true })),
    volume: (name) => add(`volume ${name}`, () => docker.getVolume(name).remove()),
    network: (id) => add(`network ${id}`, () => docker.getNetwork(id).remove()),
    again() {
      const tries = left;
      left = [];
      for (const tryAgain of tries) tryAgain();
    },
    idle: () => chain,
  };
}
