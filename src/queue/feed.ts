/**
 * The event bus: a kick for whoever follows a run. Messages may be lost while Redis is away, so after a reconnect every
 * listener is kicked again, and nobody trusts a message for more than "look again".
 */
import type { FeedMessage } from '../runs/store.ts';
import type { Redis } from './connection.ts';
import { LABEL_QUEUES_CHANNEL } from './label-queues.ts';

const FEED = 'ig:feed:';
const CANCEL = 'ig:cancel';
const ENDED = 'ig:ended';

export const feedChannel = (run: string): string => `${FEED}${run}`;

export interface Feed {
  /** Resolves once the subscription is in place. */
  subscribe(run: string, listener: (message: FeedMessage) => void, signal: AbortSignal): Promise<void>;
  /** Hears of runs in which something running was asked to end. */
  onCancel(listener: (run: string) => void): Promise<void>;
  /** Hears the names of job queues with labels when something is put into them. */
  onLabelQueue(listener: (queue: string) => void): Promise<void>;
  /** Hears of runs that just ended. */
  onEnded(listener: (run: string) => void): Promise<void>;
}

/** Tells every worker to look whether it holds a job of this run that is to end. */
export async function announceCancel(redis: Redis, run: string): Promise<void> {
  await redis.publish(CANCEL, run);
}

/** Tells the servers that the run is over and wants to be archived. */
export async function announceEnd(redis: Redis, run: string): Promise<void> {
  await redis.publish(ENDED, run);
}

/** One subscriber connection for all listeners of this process; `redis` must be dedicated to it. */
export function createFeed(redis: Redis): Feed {
  const listeners = new Map<string, Set<(text: string) => void>>();
  redis.on('message', (channel: string, text: string) => {
    for (const listener of listeners.get(channel) ?? []) listener(text);
  });
  redis.on('ready', () => {
    for (const [channel, set] of listeners) {
      if (!channel.startsWith(FEED)) continue;
      const again = JSON.stringify({ kind: 'run', run: channel.slice(FEED.length) } satisfies FeedMessage);
      for (const listener of set) listener(again);
    }
  });
  const listen = async (channel: string, listener: (text: string) => void, signal?: AbortSignal): Promise<void> => {
    if (signal?.aborted) return;
    const set = listeners.get(channel) ?? new Set();
    listeners.set(channel, set.add(listener));
    signal?.addEventListener('abort', () => {
      set.delete(listener);
      if (set.size > 0 || listeners.get(channel) !== set) return;
      listeners.delete(channel);
      redis.unsubscribe(channel).catch(() => undefined);
    });
    await redis.subscribe(channel);
  };
  return {
    subscribe: (run, listener, signal) =>
      listen(feedChannel(run), (text) => listener(JSON.parse(text) as FeedMessage), signal),
    onCancel: (listener) => listen(CANCEL, listener),
    onLabelQueue: (listener) => listen(LABEL_QUEUES_CHANNEL, listener),
    onEnded: (listener) => listen(ENDED, listener),
  };
}
