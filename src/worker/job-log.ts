/**
 * The job's own log: what is said about it beside the output of its steps. Exists only when something is said. Lines stand
 * in the journal before they are written, so that a later worker writes what is missing, and says nothing twice.
 */
import type { JobFolder } from './job-folder.ts';
import { logKey } from './job-scope.ts';
import type { Assignment, LogWriter } from './ports.ts';
import { createStepLog, type StepLog } from './step-log.ts';

export interface JobLog {
  note(text: string): void;
  /** Rejects when a line could not be stored. */
  close(): Promise<void>;
}

/** `stored`: bytes that an earlier worker wrote; they come of the lines that its journal holds. */
export function createJobLog(
  writer: LogWriter,
  assignment: Assignment,
  { journal }: Pick<JobFolder, 'journal'>,
  stored: number,
): JobLog {
  const earlier = (journal.load('notes') ?? []) as string[];
  const said = [...earlier];
  let log: StepLog | undefined;
  // `close` waits for the same chain and throws what went wrong in it.
  const write = (text: string): void => {
    log ??= createStepLog({
      writer,
      key: logKey(assignment, 'job'),
      secrets: [],
      limit: Number.POSITIVE_INFINITY,
      from: { offset: 0, stored },
    });
    log.note(text).catch(() => undefined);
  };
  for (const text of earlier) write(text);
  return {
    note: (text) => {
      // What is done again when a job is carried on (an image is looked up) was said already.
      if (earlier.includes(text)) return;
      said.push(text);
      journal.save('notes', said);
      write(text);
    },
    close: async () => {
      await log?.close();
    },
  };
}
