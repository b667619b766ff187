import { type Diagnostic, showControls, sortDiagnostics } from './diagnostic.ts';

export interface RenderOptions {
  /** ANSI colours; default: none. */
  color?: boolean;
}

const WIDTH = 120;
const STATUS_LIMIT = 140;

/** The most important one as the description of a commit status: at most 140 characters, '' when there is none. */
export function firstLine(diagnostics: readonly Diagnostic[]): string {
  const [first] = sortDiagnostics(diagnostics);
  if (!first) return '';
  const text = showControls(`${first.file}:${first.line}: ${first.message}`);
  const shown = Array.from(text);
  return shown.length <= STATUS_LIMIT ? text : `${shown.slice(0, STATUS_LIMIT - 1).join('')}…`;
}

/**
 * All diagnostics as text for people: message, place, code frame, what to write instead.
 * `sources` holds the text of each file by its path; a file that is missing there is shown without a frame.
 */
export function renderDiagnostics(
  diagnostics: readonly Diagnostic[],
  sources: Readonly<Record<string, string>>,
  options: RenderOptions = {},
): string {
  const paint = options.color ? ansi : plain;
  const lines = new Map(Object.entries(sources).map(([file, text]) => [file, text.split(/\r\n|\n|\r/)]));
  return sortDiagnostics(diagnostics)
    .map((diagnostic) => renderOne(diagnostic, lines.get(diagnostic.file), paint))
    .join('\n');
}

type Paint = (text: string, colour: 'red' | 'yellow' | 'blue' | 'bold') => string;
const CODES = { red: 31, yellow: 33, blue: 34, bold: 1 };
const ansi: Paint = (text, colour) => `\u001B[${CODES[colour]}m${text}\u001B[0m`;
const plain: Paint = (text) => text;

function renderOne(diagnostic: Diagnostic, lines: string[] | undefined, paint: Paint): string {
  const { code, severity, message, file, line, column } = diagnostic;
  const colour = severity === 'error' ? 'red' : 'yellow';
  const gutter = ' '.repeat(String(line).length);
  const head = `${paint(`${severity}[${code}]`, colour)}: ${paint(showControls(message), 'bold')}`;
  const place = `${gutter}${paint('-->', 'blue')} ${showControls(file)}:${line}:${column}`;
  const frame = lines?.[line - 1] === undefined ? [] : renderFrame(diagnostic, lines[line - 1] ?? '', gutter, paint);
  const notes = [
    diagnostic.hint && `help: ${showControls(diagnostic.hint)}`,
    diagnostic.docs && `see ${diagnostic.docs}`,
  ]
    .filter((note): note is string => Boolean(note))
    .map((note) => `${gutter} ${paint('=', 'blue')} ${note}`);
  return `${[head, place, ...frame, ...notes].join('\n')}\n`;
}

/** The line and a row of carets; a long line is cut to a window around the place. */
function renderFrame({ severity, line, column, endColumn }: Diagnostic, text: string, gutter: string, paint: Paint) {
  const start = Math.max(0, Math.min(column - 1 - WIDTH / 2, text.length - WIDTH));
  const shown = showControls(text.slice(start, start + WIDTH));
  const offset = column - 1 - start;
  const length = Math.max(1, Math.min((endColumn ?? column + 1) - column, shown.length - offset));
  const bar = paint('|', 'blue');
  const carets = paint('^'.repeat(length), severity === 'error' ? 'red' : 'yellow');
  return [
    `${gutter} ${bar}`,
    `${paint(String(line), 'blue')} ${bar} ${shown}`,
    `${gutter} ${bar} ${' '.repeat(offset)}${carets}`,
  ];
}
