/** What a service may do instead of getting ready, in the words of every executor. */
import { ImpGemError } from '../errors.ts';
import type { Output } from './executor.ts';

export function serviceEnded(name: string, exitCode: number): ImpGemError {
  return new ImpGemError('service-failed', `The service ${name} ended with exit code ${exitCode} before it was ready`);
}

/** `last`: of its `ready` command, where it has one. */
export function serviceNotReady(name: string, timeoutMs: number, last?: LastTry): ImpGemError {
  const late = `The service ${name} was not ready within ${timeoutMs} ms`;
  return new ImpGemError('service-not-ready', last === undefined ? late : `${late}: ${inWords(last)}`);
}

/** Its `ready` command cannot even be begun. */
export function cannotAsk(name: string, last: LastTry): ImpGemError {
  return new ImpGemError('service-not-ready', `Whether the service ${name} is ready cannot be asked: ${inWords(last)}`);
}

/** How the last try of a `ready` command went that came to an end; the one that runs when none ever did. */
export interface LastTry {
  /** Undefined: it did not end. */
  code: number | undefined;
  /** The last line of its output, without its end; empty: there was none. */
  line: string;
}

function inWords({ code, line }: LastTry): string {
  const end = code === undefined ? 'did not end' : `ended with exit code ${code}`;
  // Only logs are masked.
  return `its ready command ${end}, and ${line === '' ? 'said nothing' : 'what it said is in the log of the service'}`;
}

export interface Tries {
  /** Output of the try that runs. */
  push(bytes: Buffer): void;
  /** It has ended; what is pushed from now on is the next one's. */
  end(code: number): void;
  last(): LastTry;
}

const LONGEST_LINE = 4096;

export function createTries(): Tries {
  let ended: LastTry | undefined;
  let tail: Buffer = Buffer.alloc(0);
  let cut = false;
  const lastLine = (): string => {
    const text = tail.toString().trimEnd();
    const line = text.slice(text.lastIndexOf('\n') + 1);
    // Half a line may begin with half a secret, which no log could mask.
    return cut && line.length === text.length ? `(a line of more than ${LONGEST_LINE} bytes)` : line;
  };
  return {
    push(bytes) {
      const all = Buffer.concat([tail, bytes]);
      cut ||= all.length > LONGEST_LINE;
      tail = all.subarray(-LONGEST_LINE);
    },
    end(code) {
      ended = { code, line: lastLine() };
      tail = Buffer.alloc(0);
      cut = false;
    },
    last: () => ended ?? { code: undefined, line: lastLine() },
  };
}

export interface ServiceOutput extends Output {
  /** Adds what the last try of the service's `ready` command said, on a line of its own; never rejects. */
  tell(last: LastTry): Promise<void>;
}

const NEWLINE = 10;

export function createServiceOutput(name: string, output: Output): ServiceOutput {
  let lastByte = NEWLINE;
  return {
    write(bytes) {
      lastByte = bytes.at(-1) ?? lastByte;
      return output.write(bytes);
    },
    async tell({ line }) {
      if (line === '') return;
      const text = `[impgem] last output of the ready command of service ${name}: ${line}\n`;
      await output.write(Buffer.from(lastByte === NEWLINE ? text : `\n${text}`)).catch(() => undefined);
    },
  };
}
