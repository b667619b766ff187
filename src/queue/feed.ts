/**
 * The event bus: a kick for whoever follows a run. Messages may be lost while Redis is away, so a listener reads the
 * state again after `onResume`, and never trusts a message for more than "look again".
 */
import type { Redis } from './connection.ts';
import type { FeedMessage } from '../runs/store.ts';

export const feedChannel = (run: string): string => `ig:feed:${run}`;

export interface Feed {
  /** Resolves once the subscription is in place. */
  subscribe(run: string, listener: (message: FeedMessage) => void, signal: AbortSignal): Promise<void>;
}

/** One subscriber connection for all listeners of this process. `redis` must be dedicated to it. */
export function createFeed(redis: Redis): Feed {
  const listeners = new Map<string, Set<(message: FeedMessage) => void>>();
  redis.on('message', (channel: string, text: string) => {
    const set = listeners.get(channel);
    if (!set) return;
    const message = JSON.parse(text) as FeedMessage;
    for (const listener of set) listener(message);
  });
  redis.on('ready', () => {
    // After a reconnect everything may have changed unheard.
    for (const [channel, set] of listeners)
      for (const listener of set) listener({ kind: 'run', run: channel.slice(feedChannel('').length) });
  });
  return {
    async subscribe(run, listener, signal) {
      if (signal.aborted) return;
      const channel = feedChannel(run);
      let set = listeners.get(channel);
      if (!set) {
        set = new Set();
        listeners.set(channel, set);
      }
      set.add(listener);
      signal.addEventListener('abort', () => {
        const now = listeners.get(channel);
        now?.delete(listener);
        if (now?.size !== 0) return;
        listeners.delete(channel);
        void redis.unsubscribe(channel).catch(() => undefined);
      });
      await redis.subscribe(channel);
    },
  };
}
