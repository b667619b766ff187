import type { LogWriter } from '../worker/ports.ts';
import type { LogKey } from './run.ts';
import type { FeedMessage } from './store.ts';

/** At once for the first bytes after a pause, then at most this often: a fast log must not flood the bus. */
const EVERY_MS = 25;

/** A log writer that tells the feed how far each log has grown. Lost news harm nobody: a reader looks at the length itself. */
export function announceLogs(writer: LogWriter, notify: (message: FeedMessage) => Promise<void>): LogWriter {
  const timers = new Map<string, NodeJS.Timeout>();
  const lengths = new Map<string, number>();
  const nameOf = (key: LogKey): string => [key.run, key.job, key.attempt, key.part].join('|');
  const say = (key: LogKey, length: number, closed: boolean): void => {
    notify({ kind: 'log', ...key, length, closed }).catch(() => undefined);
  };
  const grew = (key: LogKey, length: number): void => {
    const name = nameOf(key);
    if (timers.has(name)) {
      lengths.set(name, length);
      return;
    }
    say(key, length, false);
    timers.set(
      name,
      setTimeout(() => {
        timers.delete(name);
        const later = lengths.get(name);
        lengths.delete(name);
        if (later !== undefined) grew(key, later);
      }, EVERY_MS),
    );
  };
  return {
    length: (key) => writer.length(key),
    async append(key, offset, bytes) {
      await writer.append(key, offset, bytes);
      grew(key, offset + bytes.length);
    },
    async close(key) {
      const name = nameOf(key);
      clearTimeout(timers.get(name));
      timers.delete(name);
      lengths.delete(name);
      await writer.close(key);
      say(key, await writer.length(key), true);
    },
  };
}
