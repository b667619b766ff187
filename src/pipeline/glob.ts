/**
 * Globs over paths and names. picomatch matches one segment (what stands between two `/`), we match the segments: a
 * regular expression over a whole path takes exponential time on patterns that a stranger may choose.
 */
import picomatch from 'picomatch';

const MAX_LENGTH = 256;
const MAX_SEGMENTS = 32;
/** `*` in one segment; the time to match grows with the power of it. */
const MAX_STARS = 3;
const MAX_ALTERNATIVES = 64;
/** Longer segments of a path match only `*` and `**`: no file system and no ref has them. */
const MAX_SUBJECT_SEGMENT = 255;

/** What is wrong with a pattern (without its `!`), as the end of "The pattern ..."; undefined when it is fine. */
export function problemOfGlob(pattern: string): string | undefined {
  if (pattern === '') return 'is empty';
  if (pattern.length > MAX_LENGTH) return `is longer than ${MAX_LENGTH} characters`;
  if (pattern.includes('${{')) return 'takes no expression';
  if (/[()|]/.test(pattern)) return 'may not hold `(`, `)` or `|`; write `{a,b}`';
  if (/\*{3}/.test(pattern)) return 'may not hold `***`';
  if (pattern.split('/').some((segment) => segment === '..')) return 'may not hold `..`';
  const expanded = expandBraces(pattern);
  if (!expanded) return `has an open brace, braces in braces, or more than ${MAX_ALTERNATIVES} alternatives`;
  for (const one of expanded) {
    const segments = one.split('/');
    if (segments.length > MAX_SEGMENTS) return `has more than ${MAX_SEGMENTS} segments`;
    if (segments.some((segment) => (segment.match(/\*/g)?.length ?? 0) > MAX_STARS))
      return `has more than ${MAX_STARS} \`*\` between two \`/\``;
  }
  return undefined;
}

export interface Matcher {
  /** `wanted`, and not `refused`. */
  (text: string): boolean;
  /** A pattern without `!` matches, or there is none. */
  wanted: (text: string) => boolean;
  /** A pattern with `!` matches. */
  refused: (text: string) => boolean;
}

/**
 * True when a pattern without `!` matches (or there is none) and none with `!` does. `*` stays between two `/`, `**`
 * is any number of segments, a pattern that ends with `/` means all below. Patterns must have passed problemOfGlob.
 */
export function compileGlobs(patterns: readonly string[]): Matcher {
  const positive = patterns.filter((pattern) => !pattern.startsWith('!')).flatMap(globsOf);
  const negative = patterns
    .filter((pattern) => pattern.startsWith('!'))
    .flatMap((pattern) => globsOf(pattern.slice(1)));
  const wanted = (text: string): boolean => positive.length === 0 || matchesAny(positive, text.split('/'));
  const refused = (text: string): boolean => negative.length > 0 && matchesAny(negative, text.split('/'));
  return Object.assign((text: string) => wanted(text) && !refused(text), { wanted, refused });
}

/** A pattern without braces, segment by segment. */
type Glob = readonly SegmentMatcher[];
type SegmentMatcher = '**' | ((segment: string) => boolean);

/** The same few patterns are asked for every cell and step. */
const KEPT = 500;
const kept = new Map<string, Glob[]>();

function globsOf(pattern: string): Glob[] {
  const known = kept.get(pattern);
  if (known) return known;
  const whole = pattern.endsWith('/') ? `${pattern}**` : pattern;
  const globs = (expandBraces(whole.replace(/^\.?\//, '')) ?? []).map((one) => one.split('/').map(compileSegment));
  if (kept.size >= KEPT) kept.clear();
  kept.set(pattern, globs);
  return globs;
}

function matchesAny(globs: readonly Glob[], segments: readonly string[]): boolean {
  return globs.some((glob) => matchesGlob(glob, segments));
}

/** Goes back no further than to the last `**`: what an earlier one eats more would not help. */
function matchesGlob(glob: Glob, segments: readonly string[]): boolean {
  let at = 0;
  let next = 0;
  let lastStars = -1;
  let eaten = 0;
  while (at < segments.length) {
    const matcher = glob[next];
    if (matcher === '**') {
      lastStars = next;
      eaten = at;
      next += 1;
    } else if (matcher?.(segments[at] ?? '')) {
      at += 1;
      next += 1;
    } else if (lastStars === -1) return false;
    else {
      eaten += 1;
      at = eaten;
      next = lastStars + 1;
    }
  }
  while (glob[next] === '**') next += 1;
  return next === glob.length;
}

function compileSegment(segment: string): SegmentMatcher {
  if (segment === '**') return '**';
  if (segment === '*') return (text) => text !== '';
  if (!/[*?[\]\\]/.test(segment)) return (text) => text === segment;
  const matches = picomatch(segment, {
    dot: true,
    noextglob: true,
    nobrace: true,
    nonegate: true,
    maxLength: MAX_LENGTH,
  });
  return (text) => text.length <= MAX_SUBJECT_SEGMENT && matches(text);
}

/** `a{b,c}d` to `abd`, `acd`; undefined when braces are nested, open, or make too many. */
function expandBraces(pattern: string): string[] | undefined {
  let results = [''];
  for (const piece of pattern.split(/(\{[^{}]*\})/)) {
    const inner = /^\{(.*)\}$/.exec(piece)?.[1];
    if (inner === undefined && /[{}]/.test(piece)) return undefined;
    const choices = inner === undefined ? [piece] : inner.split(',');
    if (results.length * choices.length > MAX_ALTERNATIVES) return undefined;
    results = results.flatMap((result) => choices.map((choice) => result + choice));
  }
  return results;
}
