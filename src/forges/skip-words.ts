import type { EventKind } from '../runs/event.ts';

const WORDS = /\[(?:skip ci|ci skip|no ci)\]/i;
const TRAILER = /^skip-checks:\s*true\s*$/im;

/**
 * Why the message of a head commit asks for no run; undefined when it does not. Only pushes and pull requests can be
 * skipped: a tag, a person and a clock mean it.
 */
export function skipReason(kind: EventKind, message: string): string | undefined {
  if (kind !== 'push' && kind !== 'pull_request') return undefined;
  const word = WORDS.exec(message)?.[0] ?? TRAILER.exec(message)?.[0].trim();
  return word === undefined ? undefined : `skipped: the commit message says ${word}`;
}
