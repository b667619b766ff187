import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileGlobs, problemOfGlob } from '../../src/pipeline/glob.ts';

describe('matching', () => {
  test.each([
    ['main', 'main', true],
    ['main', 'Main', false],
    ['*', 'main', true],
    ['*', 'a/b', false],
    ['**', 'a/b', true],
    ['src/**', 'src/a/b.c', true],
    ['src/**', 'src', true],
    ['src/**', 'srcs/a', false],
    ['**/*.md', 'README.md', true],
    ['**/*.md', 'a/b/c.md', true],
    ['a/**/z', 'a/z', true],
    ['a/**/z', 'a/b/c/z', true],
    ['a/**/z', 'a/b/c/zz', false],
    ['docs/', 'docs/a/b', true],
    ['docs/', 'doc/a', false],
    ['/src/*', 'src/a', true],
    ['./src/*', 'src/a', true],
    ['*.{ts,tsx}', 'a.tsx', true],
    ['{src,test}/**', 'test/a', true],
    ['v[0-9]*', 'v2.1', true],
    ['v[0-9]*', 'vx', false],
    ['v?', 'v1', true],
    ['v?', 'v', false],
    ['.github/**', '.github/x.yml', true],
    ['*', '.hidden', true],
    ['a+b', 'a+b', true],
    ['a.b', 'axb', false],
    ['$x^', '$x^', true],
  ])('%s against %s: %s', (pattern, text, expected) => {
    expect(problemOfGlob(pattern)).toBeUndefined();
    expect(compileGlobs([pattern])(text)).toBe(expected);
  });

  test('`!` takes away, and stands by itself for everything else', () => {
    expect(compileGlobs(['src/**', '!**/*.md'])('src/a.md')).toBe(false);
    expect(compileGlobs(['!docs/**'])('src/a')).toBe(true);
    expect(compileGlobs(['!docs/**', '!*.md'])('a.md')).toBe(false);
  });
});

describe('patterns that are refused', () => {
  test.each([
    '',
    '*(*(*(a|b)))',
    '***************X***',
    '{a,{b}}',
    '{a',
    'a*b*c*d*e',
    '../x',
    'a/../b',
    'x'.repeat(300),
    '{a,b}'.repeat(7),
    'a/'.repeat(40),
    '${{ x }}',
  ])('%s', (pattern) => {
    expect(problemOfGlob(pattern)).toBeTypeOf('string');
  });
});

test('a pattern that is let through is matched in little work, whatever the subject', () => {
  const pattern = fc
    .array(fc.constantFrom('a', '*', '**', '/', '?', '[ab]', '{a,b}', '.', 'b*'), { minLength: 1, maxLength: 30 })
    .map((parts) => parts.join(''))
    .filter((text) => problemOfGlob(text) === undefined);
  const subject = fc
    .array(fc.constantFrom('a', 'b', '/', 'aaaaaaaaaaaaaaaaaaaaaaaa'), { maxLength: 120 })
    .map((parts) => parts.join(''));
  fc.assert(
    fc.property(pattern, subject, (glob, text) => {
      expect(compileGlobs([glob])(text)).toBeTypeOf('boolean');
    }),
    { numRuns: 500 },
  );
});

test('the worst that is let through against the worst that a file system holds', () => {
  const worst = '**/*a*a*/**/*a*a*/**/*a*a*/**/*a*a*b';
  expect(problemOfGlob(worst)).toBeUndefined();
  const path = Array.from({ length: 16 }, () => 'a'.repeat(255)).join('/');
  expect(compileGlobs([worst])(path)).toBe(false);
});
