/** What is wrong with a pipeline file, and where. All of them at once, never the first exception. */

export type Severity = 'error' | 'warning';

export interface Diagnostic {
  /** Stable; scripts may test it: `unknown-key`. */
  code: string;
  severity: Severity;
  /** One sentence, without the place. */
  message: string;
  file: string;
  /** From 1. */
  line: number;
  /** From 1, in UTF-16 code units. */
  column: number;
  /** Column after the last one meant, when that is on the same line. */
  endColumn?: number;
  /** What to write instead. */
  hint?: string;
  /** Where it is explained: a file of this project and an anchor. */
  docs?: string;
}

/** More than these of one file help nobody, and a hostile file must not make a megabyte of them. */
export const MAX_DIAGNOSTICS = 100;

export function hasErrors(diagnostics: readonly Diagnostic[]): boolean {
  return diagnostics.some(({ severity }) => severity === 'error');
}

/** Errors before warnings, then by file and place. */
export function sortDiagnostics(diagnostics: readonly Diagnostic[]): Diagnostic[] {
  return [...diagnostics].sort(
    (a, b) =>
      Number(a.severity === 'warning') - Number(b.severity === 'warning') ||
      a.file.localeCompare(b.file) ||
      a.line - b.line ||
      a.column - b.column,
  );
}

/** A file may hold escape sequences: they are shown, never sent to a terminal. */
export function showControls(text: string): string {
  return text.replace(/\p{Cc}|[\u202A-\u202E\u2066-\u2069]/gu, (character) => (character === '\t' ? ' ' : '\uFFFD'));
}
