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

export type Matcher = (text: string) => boolean;

/**
 * True when a pattern without `!` matches (or there is none) and none with `!` does. `*` stays between two `/`, `**`
 * is any number of segments, a pattern that ends with `/` means all below. Patterns must have passed problemOfGlob.
 */
export function compileGlobs(patterns: readonly string[]): Matcher {
  const wanted = patterns.filter((pattern) => !pattern.startsWith('!')).map(globOf);
  const refused = patterns.filter((pattern) => pattern.startsWith('!')).map((pattern) => globOf(pattern.slice(1)));
  return (text) =>
    (wanted.length === 0 || wanted.some((match) => match(text))) && !refused.some((match) => match(text));
}

/** The same few patterns are asked for every cell and step. */
const KEPT = 500;
const kept = new Map<string, Matcher>();

function globOf(pattern: string): Matcher {
  const known = kept.get(pattern);
  if (known) return known;
  const matcher = compileGlob(pattern);
  if (kept.size >= KEPT) kept.clear();
  kept.set(pattern, matcher);
  return matcher;
}

function compileGlob(pattern: string): Matcher {
  const whole = pattern.endsWith('/') ? `${pattern}**` : pattern;
  const alternatives = (expandBraces(whole.replace(/^\.?\//, '')) ?? []).map(compileSegments);
  return (text) => {
    const segments = text.split('/');
    return alternatives.some((match) => match(segments));
  };
}

type SegmentMatcher = '**' | ((segment: string) => boolean);

function compileSegments(pattern: string): (segments: string[]) => boolean {
  const matchers = pattern.split('/').map(compileSegment);
  return (segments) => {
    // reach[i]: the matchers so far can have eaten the first i segments.
    let reach = segments.map((_, index) => index === 0);
    reach.push(segments.length === 0);
    for (const matcher of matchers) {
      if (matcher === '**') {
        const first = reach.indexOf(true);
        reach = reach.map((_, index) => first !== -1 && index >= first);
      } else
        reach = reach.map((_, index) => index > 0 && reach[index - 1] === true && matcher(segments[index - 1] ?? ''));
    }
    return reach[segments.length] === true;
  };
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
