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

/**
 * `stored`: bytes that an earlier worker wrote; they come of the lines that its journal holds. `secrets`: of the job; what
 * is said before they are known waits for them, so that no line can show one.
 */
export function createJobLog(
  writer: LogWriter,
  assignment: Assignment,
  { journal }: Pick<JobFolder, 'journal'>,
  stored: number,
  secrets: Promise<ReadonlyMap<string, string>>,
): JobLog {
  const earlier = (journal.load('notes') ?? []) as string[];
  const said = [...earlier];
  let log: Promise<StepLog> | undefined;
  const open = async (): Promise<StepLog> => {
    // Those that cannot be had are in no line either.
    const values = await secrets.then(
      (known) => [...known.values()],
      () => [],
    );
    return createStepLog({
      writer,
      key: logKey(assignment, 'job'),
      secrets: values,
      limit: Number.POSITIVE_INFINITY,
      from: { offset: 0, stored },
    });
  };
  // `close` waits for the same chain and throws what went wrong in it.
  const write = (text: string): void => {
    log ??= open();
    log.then((opened) => opened.note(text)).catch(() => undefined);
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
      await (await log)?.close();
    },
  };
}
