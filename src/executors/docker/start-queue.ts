import { setTimeout as delay } from 'node:timers/promises';

/** Starts of containers: a few at a time, in the order asked. What can wait (removals, warming up) asks when it is quiet. */
export interface StartQueue {
  run<T>(work: () => Promise<T>): Promise<T>;
  /** A step gets its script: for who waits until it is quiet that counts as a start. */
  stepBegins(): void;
  /** Settles when nothing is starting or waiting to, and was not for `ms` (default 0). Where that never comes, after `atMost` ms, unless one starts just then. */
  quiet(ms?: number, atMost?: number): Promise<void>;
}

/** More at once make each of them slower, the one that is waited for included. */
const AT_ONCE = 3;

export function createStartQueue(): StartQueue {
  const queue: (() => void)[] = [];
  let listeners: (() => void)[] = [];
  let running = 0;
  let begun = 0;

  function next(): void {
    const begin = queue.shift();
    if (begin) {
      begin();
      return;
    }
    running--;
    if (running > 0) return;
    for (const listener of listeners) listener();
    listeners = [];
  }

  return {
    async run(work) {
      begun++;
      if (running >= AT_ONCE) await new Promise<void>((resolve) => queue.push(resolve));
      else running++;
      try {
        return await work();
      } finally {
        next();
      }
    },
    stepBegins() {
      begun++;
    },
    async quiet(ms = 0, atMost = Infinity) {
      const until = performance.now() + atMost;
      for (;;) {
        if (running > 0) await new Promise<void>((resolve) => listeners.push(resolve));
        const before = begun;
        if (ms > 0) await delay(ms);
        if (ms === 0 || (running === 0 && begun === before) || performance.now() >= until) return;
      }
    },
  };
}
