/** The job's own log: what is said about it beside the output of its steps. Exists only when something is said. */
import { logKey } from './job-scope.ts';
import type { Assignment, LogWriter } from './ports.ts';
import { createStepLog, type StepLog } from './step-log.ts';

export interface JobLog {
  note(text: string): void;
  /** Rejects when a line could not be stored. */
  close(): Promise<void>;
}

/** `stored`: bytes that an earlier worker wrote; what is said now goes behind them. */
export function createJobLog(writer: LogWriter, assignment: Assignment, stored: number): JobLog {
  let log: StepLog | undefined;
  const open = (): StepLog =>
    createStepLog({
      writer,
      key: logKey(assignment, 'job'),
      secrets: [],
      limit: Number.POSITIVE_INFINITY,
      from: { offset: stored, stored },
    });
  return {
    note: (text) => {
      log ??= open();
      // `close` waits for the same chain and throws what went wrong in it.
      log.note(text).catch(() => undefined);
    },
    close: async () => {
      if (log ?? stored > 0) await (log ?? open()).close();
    },
  };
}
