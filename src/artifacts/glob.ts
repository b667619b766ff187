/**
 * Globs for files that a stranger named, by patterns that a stranger wrote. Libraries turn a glob into a regular
 * expression, and `*a*a*a*b` then takes a second on one long name; this takes at most pattern x path steps.
 *
 * `*` and `?` stop at `/`; `**` is any number of folders; `[a-z]`, `[!a]`; `{a,b}`. A dot is like any other character. A
 * folder's name means everything in it. `.git` at the top is taken only by a pattern that names it: nobody who asks for
 * all files means the history, and it differs from clone to clone.
 */
import { InputError } from '../errors.ts';

const LONGEST_PATTERN = 512;
const MOST_ALTERNATIVES = 256;
const LONGEST_LIST = 8192;
const GIT = '.git';

type CharTest = (char: string) => boolean;
/** One part of a path: its characters, tested one by one, with null for any number of any. */
interface Segment {
  tests: (CharTest | null)[];
  /** It is the name `.git`, without wildcards. */
  git: boolean;
}
/** Parts of a pattern; null is `**`. */
type Glob = (Segment | null)[];

export interface GlobSet {
  /** `path` is relative, `/`-separated. */
  matches(path: string): boolean;
  /** Something below this folder may match. */
  enters(folder: string): boolean;
  /** The same, and not only because of a `**`. */
  names(folder: string): boolean;
}

/** InputError `glob-invalid` for a pattern that is too long, too wide, or leaves the folder. `!` takes away. */
export function compileGlobs(patterns: string[]): GlobSet {
  if (patterns.length > MOST_ALTERNATIVES) refuse(patterns.join(' '), `has more than ${MOST_ALTERNATIVES} patterns`);
  const parsed = patterns.map(splitNegation);
  const wanted = parsed.filter(({ negated }) => !negated).flatMap(({ pattern }) => compile(pattern));
  const unwanted = parsed.filter(({ negated }) => negated).flatMap(({ pattern }) => compile(pattern));

  const size = [...wanted, ...unwanted].flat().reduce((sum, segment) => sum + (segment?.tests.length ?? 1), 0);
  if (size > LONGEST_LIST) refuse(patterns.join(' '), `is longer than ${LONGEST_LIST} characters, braces written out`);

  const excluded = (parts: string[]) => unwanted.some((glob) => matchPath(glob, parts));
  const asks = (match: (glob: Glob, parts: string[]) => boolean) => (path: string) => {
    const parts = path.split('/');
    return wanted.some((glob) => takesGit(glob, parts) && match(glob, parts)) && !excluded(parts);
  };
  return { matches: asks(matchPath), enters: asks(reaches), names: asks(namesFolder) };
}

function splitNegation(pattern: string): { negated: boolean; pattern: string } {
  return pattern.startsWith('!') ? { negated: true, pattern: pattern.slice(1) } : { negated: false, pattern };
}

function compile(pattern: string): Glob[] {
  if (pattern.length > LONGEST_PATTERN) refuse(pattern, `is longer than ${LONGEST_PATTERN} characters`);
  if (pattern.startsWith('/') || pattern.includes('\0')) refuse(pattern, 'is not relative to the workspace');
  if (pattern.includes('\\')) refuse(pattern, 'has a backslash; write `/` between folders and `[*]` for a plain star');
  return expandBraces(pattern).flatMap((text) => {
    const names = text.split('/').filter((name) => name !== '' && name !== '.');
    if (names.includes('..')) refuse(pattern, 'leaves the workspace');
    const glob = names.map((name) => (name === '**' ? null : compileSegment(name)));
    return names.at(-1)?.endsWith('*') && !text.endsWith('/') ? [glob] : [glob, [...glob, null]];
  });
}

/** `a{b,c}d` gives `abd` and `acd`; braces without a comma, or without an end, are plain characters. */
function expandBraces(pattern: string): string[] {
  let texts = [pattern];
  for (let round = 0; round < pattern.length; round++) {
    const next = texts.flatMap((text) => {
      const match = /^(.*?)\{([^{}]*,[^{}]*)\}(.*)$/s.exec(text);
      return match ? (match[2] ?? '').split(',').map((part) => `${match[1]}${part}${match[3]}`) : [text];
    });
    if (next.length > MOST_ALTERNATIVES) refuse(pattern, `has more than ${MOST_ALTERNATIVES} alternatives`);
    if (next.length === texts.length) return next;
    texts = next;
  }
  return texts;
}

function compileSegment(name: string): Segment {
  const tests: (CharTest | null)[] = [];
  for (const [token] of name.matchAll(/\*+|\?|\[[!^]?\]?[^\]]*\]|[^]/gu)) tests.push(compileToken(token));
  return { tests, git: name === GIT };
}

function compileToken(token: string): CharTest | null {
  if (token.startsWith('*')) return null;
  if (token === '?') return () => true;
  if (token.length > 1 && token.startsWith('[')) return compileClass(token.slice(1, -1));
  return (char) => char === token;
}

function compileClass(text: string): CharTest {
  const negated = /^[!^]/.test(text);
  const ranges = [...(negated ? text.slice(1) : text).matchAll(/([^])-([^])|([^])/gu)];
  const inside = (char: string) =>
    ranges.some(([, from, to, one]) => (one === undefined ? char >= (from ?? '') && char <= (to ?? '') : char === one));
  return (char) => inside(char) !== negated;
}

/** False for what is in the `.git` at the top, unless the pattern begins with that name (behind `**` at most). */
function takesGit(glob: Glob, parts: string[]): boolean {
  return parts[0] !== GIT || glob.find((segment) => segment !== null)?.git === true;
}

function matchPath(glob: Glob, parts: string[]): boolean {
  return matchSequence(glob, parts, matchName);
}

function matchName({ tests }: Segment, name: string): boolean {
  return matchSequence(tests, Array.from(name), (test, char) => test(char));
}

/** The pattern's beginning matches the whole folder, and there is more of it. */
function reaches(glob: Glob, parts: string[]): boolean {
  for (const [n, part] of parts.entries()) {
    const segment = glob[n];
    if (segment === null) return true;
    if (!segment || !matchName(segment, part)) return false;
  }
  return glob.length > parts.length;
}

function namesFolder(glob: Glob, parts: string[]): boolean {
  return glob.length > parts.length && parts.every((part, n) => glob[n] && matchName(glob[n], part));
}

/**
 * Items against tests, where null takes any number of items. Only the last null seen needs to be tried again with one item
 * more: what was matched before it is the earliest match, and no later one can do better.
 */
function matchSequence<T, I>(tests: (T | null)[], items: I[], matches: (test: T, item: I) => boolean): boolean {
  let test = 0;
  let retryTest = -1;
  let retryItem = 0;
  for (let item = 0; item < items.length;) {
    const current = tests[test];
    if (current === null) {
      retryTest = ++test;
      retryItem = item;
    } else if (current !== undefined && matches(current, items[item] as I)) {
      test++;
      item++;
    } else if (retryTest >= 0) {
      test = retryTest;
      item = ++retryItem;
    } else return false;
  }
  while (tests[test] === null) test++;
  return test === tests.length;
}

function refuse(pattern: string, why: string): never {
  throw new InputError('glob-invalid', `${JSON.stringify(pattern.slice(0, 80))} ${why}.`);
}
