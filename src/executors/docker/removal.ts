/** Removes containers and networks in the background: one after the other, in order, never in the way of a start. */
import type Docker from 'dockerode';
import { engineError, isGone, statusOf } from './engine.ts';

export interface Removal {
  container(id: string): Promise<void>;
  /** After all removals asked for before it. */
  network(id: string): Promise<void>;
  /** Settles when all that was asked for is gone. */
  idle(): Promise<void>;
}

/** `beforeEach` is waited for before each removal (it gives way to starts); `onError` hears what could not be removed. */
export function createRemoval(
  docker: Docker,
  beforeEach: () => Promise<void>,
  onError: (error: Error) => void,
): Removal {
  let chain: Promise<void> = Promise.resolve();

  function add(what: string, remove: () => Promise<unknown>): Promise<void> {
    chain = chain.then(beforeEach).then(async () => {
      try {
        await remove();
      } catch (error) {
        // 409: being removed by somebody else already.
        if (!isGone(error) && statusOf(error) !== 409) onError(engineError(error, `remove the ${what}`));
      }
    });
    return chain;
  }

  return {
    container: (id) => add(`container ${id}`, () => docker.getContainer(id).remove({ force: true, v: true })),
    network: (id) => add(`network ${id}`, () => docker.getNetwork(id).remove()),
    idle: () => chain,
  };
}
