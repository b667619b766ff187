/** The logs that one follower reads: how long each is, and how much of it was sent. */
import type { LogKey, Run } from '../../runs/run.ts';
import type { FeedMessage } from '../../runs/store.ts';
import type { LogStore } from '../../logs/log-store.ts';
import { compareLogs, isSelected, type LogSelection, nameLog } from './log-selection.ts';
import { advancePosition, encodePosition, type LogPosition, offsetIn } from './log-position.ts';
import { incompleteTail } from './utf8.ts';

export interface LogEvent {
  job: string;
  /** Index of the step; null for a job's own notes, services, and the run's own log. */
  step: number | null;
  name: string;
  attempt: number;
  part: string;
  /** Where `text` begins in the log, in bytes. */
  offset: number;
  text: string;
}

interface FollowedLog {
  key: LogKey;
  group: string;
  sent: number;
  length: number;
  closed: boolean;
}

export interface FollowedLogs {
  /** Looks at the store: new logs, and growth that the feed did not tell. */
  scan(): Promise<void>;
  /** Takes growth as the feed tells it. */
  grow(message: FeedMessage & { kind: 'log' }): void;
  /** What is there and was not sent yet, log by log; `id` is the position after it. */
  unread(): AsyncGenerator<{ data: LogEvent; id: string }>;
  /** Whether a log may still grow. */
  open(): boolean;
}

export function followedLogs(
  store: Pick<LogStore, 'list' | 'stat' | 'read'>,
  run: Run,
  selection: LogSelection,
  position: LogPosition,
): FollowedLogs {
  const logs = new Map<string, FollowedLog>();
  const inOrder = compareLogs(run);
  const groupOf = (job: string, attempt: number) =>
    `${job === '' ? 'r' : run.jobs.findIndex((each) => each.id === job)}.${attempt}`;
  const started = firstAttempts(run, position);
  const current = (job: string) => started.get(job) ?? 1;

  const note = (key: LogKey, length: number, closed: boolean) => {
    if (!isSelected(selection, key, current)) return;
    const name = `${key.job} ${key.attempt} ${key.part}`;
    const known = logs.get(name);
    if (known) {
      known.length = Math.max(known.length, length);
      known.closed ||= closed;
      return;
    }
    const group = groupOf(key.job, key.attempt);
    logs.set(name, { key, group, sent: offsetIn(position, group, key.part), length, closed });
  };

  async function* read(log: FollowedLog): AsyncGenerator<{ data: LogEvent; id: string }> {
    const { length, closed } = log;
    const event = (bytes: Buffer) => {
      const offset = log.sent;
      log.sent += bytes.length;
      advancePosition(position, log.group, log.key.part, log.sent, closed && log.sent === length);
      const { job, attempt, part } = log.key;
      const data = { job, ...nameLog(run, log.key), attempt, part, offset, text: bytes.toString('utf8') };
      return { data, id: encodePosition(position) };
    };
    // A character that came in two pieces waits here for its end; it counts as sent only when it was.
    let rest: Buffer = Buffer.alloc(0);
    for await (const piece of store.read(log.key, log.sent, length)) {
      const bytes = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
      const whole = bytes.length - incompleteTail(bytes);
      rest = bytes.subarray(whole);
      if (whole > 0) yield event(bytes.subarray(0, whole));
    }
    if (closed && rest.length > 0) yield event(rest);
  }

  return {
    async scan() {
      const keys = [...(await store.list(run.id)), ...[...logs.values()].map((log) => log.key)];
      for (const key of keys) {
        if (logs.get(`${key.job} ${key.attempt} ${key.part}`)?.closed) continue;
        const found = isSelected(selection, key, current) ? await store.stat(key) : undefined;
        if (found) note(key, found.length, found.closed);
      }
    },
    grow: (message) =>
      note(
        { run: run.id, job: message.job, attempt: message.attempt, part: message.part },
        message.length,
        message.closed,
      ),
    async *unread() {
      for (const log of [...logs.values()].sort((a, b) => inOrder(a.key, b.key)))
        if (log.sent < log.length) yield* read(log);
    },
    open: () => [...logs.values()].some((log) => !log.closed),
  };
}

/** The attempt of each job at which the follower starts: the newest, or the oldest that it had begun to read. */
function firstAttempts(run: Run, position: LogPosition): Map<string, number> {
  const first = new Map(run.jobs.map((job) => [job.id, job.attempt]));
  for (const key of [...position.offsets.keys(), ...position.done.keys()]) {
    const [index, attempt] = key.split('.');
    const job = run.jobs[Number(index)];
    if (job) first.set(job.id, Math.min(first.get(job.id) ?? 1, Number(attempt)));
  }
  return first;
}
