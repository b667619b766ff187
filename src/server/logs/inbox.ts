import type { FeedMessage } from '../../runs/store.ts';

/** Keeps what the feed said until somebody looks; the newest word about a log replaces the ones before. */
export interface Inbox {
  put: (message: FeedMessage) => void;
  /** Everything since the last take. */
  take(): { run: boolean; logs: (FeedMessage & { kind: 'log' })[] };
  /** Resolves true when there is something to take, false after `ms` or when the signal aborts. */
  wait(ms: number, signal: AbortSignal): Promise<boolean>;
}

export function createInbox(): Inbox {
  let run = false;
  let logs = new Map<string, FeedMessage & { kind: 'log' }>();
  let wake: (() => void) | undefined;
  return {
    put(message) {
      if (message.kind === 'run') run = true;
      else logs.set(`${message.job} ${message.attempt} ${message.part}`, message);
      wake?.();
    },
    take() {
      const taken = { run, logs: [...logs.values()] };
      run = false;
      logs = new Map();
      return taken;
    },
    async wait(ms, signal) {
      if (!run && logs.size === 0 && !signal.aborted)
        await new Promise<void>((resolve) => {
          const done = () => {
            clearTimeout(timer);
            signal.removeEventListener('abort', done);
            wake = undefined;
            resolve();
          };
          const timer = setTimeout(done, ms);
          signal.addEventListener('abort', done);
          wake = done;
        });
      return run || logs.size > 0;
    },
  };
}
