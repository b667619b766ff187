/**
 * Lets webhooks pass before planning: a forge waits a few seconds for its answer, a plan can wait a moment. While many
 * webhooks are under way at once, planning the next event is put off, for a bounded time.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ReceiveDelivery } from './receive.ts';

/** So many at once are not a flood: planning goes on at once. */
const FEW = 2;
const LOOK_MS = 25;
const LONGEST_MS = 3000;

export interface Calm {
  /** The same receiver, counted while it works. */
  during(receive: ReceiveDelivery): ReceiveDelivery;
  /** Settles when few webhooks are under way, or after a few seconds. */
  wait(): Promise<void>;
}

export function createCalm(): Calm {
  let busy = 0;
  return {
    during: (receive) => async (forge, headers, body) => {
      busy++;
      try {
        return await receive(forge, headers, body);
      } finally {
        busy--;
      }
    },
    async wait() {
      const until = performance.now() + LONGEST_MS;
      while (busy > FEW && performance.now() < until) await sleep(LOOK_MS);
    },
  };
}
