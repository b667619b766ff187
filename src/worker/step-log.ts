/**
 * The one writer of one log: masks secrets, keeps the byte offset, ends at the limit. What it writes depends on the bytes
 * it is given alone, never on how they were cut, so an adopted step that is fed again from its first byte lands on the
 * same offsets.
 */
import type { Output } from '../executors/executor.ts';
import { createMasker } from '../logs/masking.ts';
import type { LogKey } from '../runs/run.ts';
import type { LogWriter } from './ports.ts';

export interface StepLog extends Output {
  /** A line of ours. Begins on a line of its own. */
  note(text: string): Promise<void>;
  /** The end of one task's output: writes what the masker held back because a secret might begin there. */
  flush(): Promise<void>;
  /** Bytes of the log so far; exact after `flush`. */
  length(): number;
  /** Waits for what is on its way, then closes the log. */
  close(): Promise<void>;
  /** Rejects with the first error of the store; never resolves. */
  broken: Promise<never>;
}

export interface StepLogOptions {
  writer: LogWriter;
  key: LogKey;
  secrets: string[];
  /** Bytes of output; more is dropped, and `onLimit` is called once. Notes pass beyond it. */
  limit: number;
  onLimit?: () => void;
  /** Where the bytes that come belong, and how many are stored already (those are not sent again). */
  from?: { offset: number; stored: number };
}

const NEWLINE = 10;

export function createStepLog(options: StepLogOptions): StepLog {
  const { writer, key, secrets, limit, onLimit, from = { offset: 0, stored: 0 } } = options;
  let masker = createMasker(secrets);
  let offset = from.offset;
  let lastByte = NEWLINE;
  let full = false;
  let breakWith: (error: unknown) => void = () => undefined;
  const broken = new Promise<never>((_, reject) => (breakWith = reject));
  broken.catch(() => undefined);
  let chain = Promise.resolve();

  // Bytes are produced in the order of the calls, so masker and offset see one stream also when callers do not wait.
  const enqueue = (produce: () => Buffer): Promise<void> => {
    chain = chain.then(() => put(produce()));
    chain.catch(breakWith);
    return chain;
  };

  async function put(bytes: Buffer): Promise<void> {
    if (bytes.length === 0) return;
    const at = offset;
    offset += bytes.length;
    lastByte = bytes.at(-1) ?? lastByte;
    const known = Math.min(bytes.length, Math.max(0, from.stored - at));
    if (known < bytes.length) await writer.append(key, at + known, bytes.subarray(known));
  }

  const limited = (bytes: Buffer): Buffer => {
    if (full) return bytes.subarray(0, 0);
    if (offset + bytes.length <= limit) return bytes;
    full = true;
    onLimit?.();
    return bytes.subarray(0, Math.max(0, limit - offset));
  };

  return {
    write: (bytes) => enqueue(() => limited(masker.push(bytes))),
    flush: () =>
      enqueue(() => {
        const rest = masker.flush();
        masker = createMasker(secrets);
        return limited(rest);
      }),
    note: (text) =>
      enqueue(() => Buffer.from(`${lastByte === NEWLINE ? '' : '\n'}[impgem] ${maskText(secrets, text)}\n`)),
    length: () => offset,
    close: async () => {
      await chain;
      await writer.close(key);
    },
    broken,
  };
}

/** Text that leaves the job by another way than a log (a reason, a summary, an output), without its secrets. */
export function maskText(secrets: string[], text: string): string {
  const masker = createMasker(secrets);
  return Buffer.concat([masker.push(Buffer.from(text)), masker.flush()]).toString();
}
