/**
 * What a step hands on through its files: `$IMPGEM_ENV` and `$IMPGEM_OUTPUT` (lines `NAME=value`, or `NAME<<END` ... `END`),
 * `$IMPGEM_PATH` (a folder a line) and `$IMPGEM_SUMMARY` (markdown). The text is a stranger's: it is bounded, names are
 * checked, and a bad line is an error that says where it is.
 */
import { HANDOVER_LIMIT, STEP_PATHS, type Handover } from '../executors/executor.ts';

export interface HandedOn {
  env: Map<string, string>;
  outputs: Map<string, string>;
  /** Folders for the front of PATH, the last one written first. */
  path: string[];
  summary?: string;
  /** One sentence a bad line: `$IMPGEM_ENV, line 3: ...`. What was good is kept. */
  problems: string[];
}

/** A variable longer than this does not fit into the arguments of a process on Linux (128 KiB, name included). */
export const MAX_VARIABLE_BYTES = 128 * 1024 - 1024;
/** The summary stands in the run's record. */
const MAX_SUMMARY = 64 * 1024;
const MAX_PROBLEMS = 20;
/** What stands in a Handover for bytes that are no UTF-8. */
const NO_UTF8 = /[\ud800-\udfff]/u;
const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,254}$/;
const OUTPUT_NAME = /^[A-Za-z_][A-Za-z0-9_-]{0,254}$/;

/** Reads the four files. Never throws: what is wrong stands in `problems`. */
export function parseHandover(files: Handover): HandedOn {
  const problems: string[] = [];
  const report = (file: string) => (line: number, message: string) => {
    if (problems.length < MAX_PROBLEMS) problems.push(`$IMPGEM_${file}, line ${line}: ${message}`);
  };
  for (const [name, text] of Object.entries(files))
    if (Buffer.byteLength(text as string) >= HANDOVER_LIMIT)
      problems.push(`$IMPGEM_${name.toUpperCase()} holds ${HANDOVER_LIMIT} bytes or more; it must be smaller`);
  const summary = cut(files.summary.replaceAll(new RegExp(NO_UTF8, 'gu'), '\ufffd'), MAX_SUMMARY);
  return {
    env: parseAssignments(files.env, envNameProblem, report('ENV')),
    outputs: parseAssignments(files.output, outputNameProblem, report('OUTPUT')),
    path: parseFolders(files.path, report('PATH')),
    ...(summary.trim() === '' ? {} : { summary }),
    problems,
  };
}

type Report = (line: number, message: string) => void;

/** Lines `NAME=value` and `NAME<<END` ... `END`; what is bad is reported and left out. */
export function parseAssignments(
  text: string,
  nameProblem: (name: string) => string | undefined,
  report: Report,
): Map<string, string> {
  const found = new Map<string, string>();
  const lines = linesOf(text);
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] ?? '';
    const number = at + 1;
    if (line === '') continue;
    const operator = /=|<</.exec(line);
    if (!operator) {
      report(number, `"${shown(line)}" is neither NAME=value nor NAME<<END`);
      continue;
    }
    const name = line.slice(0, operator.index);
    let value = line.slice(operator.index + operator[0].length);
    if (operator[0] === '<<') {
      const end = value === '' ? -1 : lines.indexOf(value, at + 1);
      if (end < 0) {
        report(
          number,
          value === '' ? `${shown(name)}<< names no end word` : `the end word "${shown(value)}" never comes`,
        );
        break;
      }
      value = lines.slice(at + 1, end).join('\n');
      at = end;
    }
    const problem = nameProblem(name) ?? valueProblem(name, value);
    if (problem) report(number, problem);
    else found.set(name, value);
  }
  return found;
}

function envNameProblem(name: string): string | undefined {
  if (!ENV_NAME.test(name)) return `"${shown(name)}" is not a name of a variable (letters, digits, _)`;
  if (name === 'PATH') return 'PATH is changed through $IMPGEM_PATH, one folder a line';
  if (/^(CI|IMPGEM)(_|$)/.test(name)) return `${name} is set by Imp Gem; names with CI_ and IMPGEM_ are not for steps`;
  return undefined;
}

function outputNameProblem(name: string): string | undefined {
  return OUTPUT_NAME.test(name) ? undefined : `"${shown(name)}" is not a name of an output (letters, digits, _, -)`;
}

function valueProblem(name: string, value: string): string | undefined {
  if (value.includes('\0')) return `the value of ${name} holds a NUL byte`;
  if (NO_UTF8.test(value)) return `the value of ${name} is no UTF-8`;
  const bytes = Buffer.byteLength(value);
  if (bytes > MAX_VARIABLE_BYTES) return `the value of ${name} has ${bytes} bytes; at most ${MAX_VARIABLE_BYTES} fit`;
  return undefined;
}

function parseFolders(text: string, report: Report): string[] {
  const folders: string[] = [];
  for (const [index, line] of linesOf(text).entries()) {
    if (line === '') continue;
    if (!/^(\/|~\/)/.test(line)) report(index + 1, `"${shown(line)}" is not an absolute folder`);
    else if (/[:\0]/.test(line)) report(index + 1, `"${shown(line)}" holds a colon or a NUL byte`);
    else if (NO_UTF8.test(line)) report(index + 1, `"${shown(line)}" is no UTF-8`);
    // Only Bash would look below its home folder for it.
    else folders.unshift(line.replace(/^~/, STEP_PATHS.home));
  }
  return [...new Set(folders)];
}

function linesOf(text: string): string[] {
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  return lines;
}

/** A stranger's text inside a message: short, and on one line. */
function shown(text: string): string {
  return text.length > 60 ? `${printable(text.slice(0, 60))}...` : printable(text);
}

function printable(text: string): string {
  // eslint's no-control-regex is about typing slips; here the control characters are the point.
  return Array.from(text, (char) => (char < ' ' || char === '\u007f' || NO_UTF8.test(char) ? '?' : char)).join('');
}

/** At most `bytes` of UTF-8, never through the middle of a character. */
export function cut(text: string, bytes: number): string {
  if (Buffer.byteLength(text) <= bytes) return text;
  return new TextDecoder('utf-8').decode(Buffer.from(text).subarray(0, bytes), { stream: true });
}
