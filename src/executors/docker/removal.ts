/** Removes containers and networks in the background: in order, one at a time, and not while others are being started. */
import type Docker from 'dockerode';
import { setTimeout as delay } from 'node:timers/promises';
import { engineError, isGone, isUnreachable, statusOf } from './engine.ts';

export interface Removal {
  /** `letEnd`: asks it to end by itself, which is less work for the engine than killing it. */
  container(id: string, letEnd?: () => void): Promise<void>;
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

/** So many may wait with processes that rest: more are ended at once, and removals go on beside starts. */
const PATIENCE = 12;
/** To end by itself. */
const GRACE_MS = 1000;

/** `quiet`: settles when nothing more urgent is going on. `onError` hears of what could not be removed. */
export function createRemoval(docker: Docker, quiet: () => Promise<void>, onError: (error: Error) => void): Removal {
  let chain: Promise<void> = Promise.resolve();
  let waiting = 0;
  let left: (() => void)[] = [];
  let hurries = false;
  // Each ends a wait that goes on now: for quiet, for a container that ends by itself.
  const quietOnes = new Set<() => void>();
  const graceOnes = new Set<() => void>();

  /** Settles with `work`, or when whoever waits is told to stop. */
  async function waitFor(work: Promise<unknown>, waits: Set<() => void>): Promise<void> {
    let stop = (): void => undefined;
    const told = new Promise<void>((resolve) => (stop = resolve));
    waits.add(stop);
    if (hurries) stop();
    await Promise.race([work, told]).finally(() => waits.delete(stop));
  }

  async function remove(what: string, call: () => Promise<unknown>): Promise<void> {
    if (waiting <= PATIENCE) await waitFor(quiet(), quietOnes);
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
  function addContainer(id: string, letEnd?: () => void): Promise<void> {
    const what = `container ${id}`;
    const call = (): Promise<unknown> => removeContainer(id, letEnd);
    if (waiting >= PATIENCE) {
      letEnd?.();
      for (const stop of quietOnes) stop();
    }
    if (!hurries) return add(what, call);
    waiting++;
    const gone = remove(what, call);
    chain = Promise.all([chain, gone]).then(() => undefined);
    return gone;
  }

  async function removeContainer(id: string, letEnd?: () => void): Promise<void> {
    const container = docker.getContainer(id);
    if (letEnd) {
      letEnd();
      const enough = new AbortController();
      const ended = Promise.race([container.wait(), delay(GRACE_MS, undefined, { signal: enough.signal })]);
      // What cannot be waited for is removed all the same.
      await waitFor(
        ended.catch(() => undefined),
        graceOnes,
      );
      enough.abort();
    }
    await container.remove({ force: true, v: true });
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
      for (const stop of [...quietOnes, ...graceOnes]) stop();
    },
    idle: () => chain,
  };
}
