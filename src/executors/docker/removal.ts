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
  /** From now on nothing is quiet enough to wait for, and containers go side by side: the worker stops. */
  hurry(): void;
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
  let hurries = false;
  let tellHurry = (): void => undefined;
  const hurry = new Promise<void>((resolve) => (tellHurry = resolve));

  async function remove(what: string, call: () => Promise<unknown>): Promise<void> {
    if (waiting <= PATIENCE && !hurries) await Promise.race([quiet(), hurry]);
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

  /** Needs nothing else to be gone before. */
  function addContainer(id: string): Promise<void> {
    const what = `container ${id}`;
    const call = (): Promise<unknown> => docker.getContainer(id).remove({ force: true, v: true });
    if (!hurries) return add(what, call);
    waiting++;
    const gone = remove(what, call);
    chain = Promise.all([chain, gone]).then(() => undefined);
    return gone;
  }

  return {
    container: addContainer,
    volume: (name) => add(`volume ${name}`, () => docker.getVolume(name).remove()),
    network: (id) => add(`network ${id}`, () => docker.getNetwork(id).remove()),
    again() {
      const tries = left;
      left = [];
      for (const tryAgain of tries) tryAgain();
    },
    hurry() {
      hurries = true;
      tellHurry();
    },
    idle: () => chain,
  };
}
