import fc from 'fast-check';
import picomatch from 'picomatch';
import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { compileGlobs } from '../../src/artifacts/glob.ts';
import { compileGlobs as compilePaths, problemOfGlob } from '../../src/pipeline/glob.ts';

const matches = (globs: string | string[], path: string) => compileGlobs([globs].flat()).matches(path);

describe('compileGlobs', () => {
  it.each<[string | string[], string[], string[]]>([
    ['dist', ['dist', 'dist/a', 'dist/a/b.js', 'dist/.env', 'dist/.git/x'], ['dist2', 'a/dist']],
    ['./dist/', ['dist/a', 'dist/a/b', 'dist/.next/.x/f'], ['a']],
    ['*/', ['a/b', '.a/b/c'], ['.git/config']],
    ['*.txt', ['a.txt', 'a.txt/in/it', '.txt'], ['a/b.txt', 'a.txt2']],
    ['src/*', ['src/a', 'src/.a'], ['src/a/b', 'src']],
    ['**', ['a', 'a/b/c', '.a', 'a/.b', '.gitignore', '.github/x', 'a/.git/config'], ['.git/config', '.git']],
    ['{*,.g?t,[.]git,*git}/**', ['a/b', '.got/x'], ['.git/config', '.git']],
    ['**/HEAD', ['HEAD', 'a/.git/HEAD'], ['.git/HEAD', '.git/logs/HEAD']],
    ['.git/HEAD', ['.git/HEAD'], ['.git/config']],
    ['{a,.git}', ['a/x', '.git/config', '.git/refs/x'], ['b']],
    ['**/.git', ['.git/config', 'a/.git/config'], ['.gitignore']],
    [['.git', '!**/config'], ['.git/HEAD'], ['.git/config']],
    ['**/*.log', ['x.log', 'a/b/x.log', '.a/x.log', 'a/.x.log'], ['a/x.log2']],
    ['**/.cache/*', ['.cache/x', 'a/.cache/x', '.cache/.x'], ['cache/x']],
    ['.next', ['.next/a', '.next/b/c', '.next/.b'], ['next/a']],
    ['a?c', ['abc', 'aäc', 'a😀c'], ['ac', 'a/c', 'abbc']],
    ['a[!b-d]', ['ae', 'a-'], ['ab', 'ac', 'a']],
    ['[a-]x', ['ax', '-x'], ['bx']],
    ['a[', ['a['], ['a']],
    ['{a,b/{c,d}}.txt', ['a.txt', 'b/c.txt', 'b/d.txt'], ['b.txt', 'c.txt']],
    ['a{b}', ['a{b}'], ['ab']],
    ['+(a|b)', ['+(a|b)'], ['a', 'ab']],
    ['a(b)$^.|', ['a(b)$^.|'], ['ab']],
    [['**', '!**/*.map'], ['a.js'], ['a.map', 'x/a.map']],
    [['dist', '!dist/tmp'], ['dist/a'], ['dist/tmp', 'dist/tmp/x', 'dist/tmp/.y']],
    [['!a'], [], ['a', 'b']],
    [[], [], ['a']],
  ])('%j', (globs, hits, misses) => {
    for (const path of hits) expect([path, matches(globs, path)]).toEqual([path, true]);
    for (const path of misses) expect([path, matches(globs, path)]).toEqual([path, false]);
  });

  it('agrees with picomatch and `when: paths` on what all of them know', () => {
    const segment = fc.array(fc.constantFrom('a', 'b', '*', '?', '.', '[ab]', '[^a]'), { minLength: 1, maxLength: 5 });
    const part = fc.oneof(
      fc.constant('**'),
      segment.map((list) => list.join('')),
    );
    const pattern = fc.array(part, { minLength: 1, maxLength: 4 }).map((list) => list.join('/'));
    const name = fc.array(fc.constantFrom('a', 'b', '.'), { minLength: 1, maxLength: 4 }).map((list) => list.join(''));
    const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((list) => list.join('/'));
    // `.` and `..` are no names; `*.` (picomatch wants a character behind it), `***`, and a folder below `x/*` are where
    // the two differ.
    const odd = /(^|[/])\.{1,2}([/]|$)|\*\.|\*\*[^/]|\*\*$|[^/]\*\*|\*\*\*/;
    fc.assert(
      fc.property(pattern, path, (glob, file) => {
        fc.pre(!odd.test(glob) && !/(^|[/])\.{1,2}([/]|$)/.test(file));
        const both = glob.endsWith('*') ? [glob] : [glob, `${glob}/**`];
        const expected = both.some((one) => picomatch(one, { dot: true })(file));
        expect(matches(glob, file)).toBe(expected);
        if (problemOfGlob(glob) === undefined) expect(compilePaths(both)(file)).toBe(expected);
      }),
      { numRuns: 2000 },
    );
  });

  it('never enters a folder in vain, and enters each that leads to a match', () => {
    const set = compileGlobs(['src/**/*.ts', 'docs/a/b', '!src/gen']);
    expect(['src', 'src/x', 'docs', 'docs/a', 'docs/a/b'].map((path) => set.enters(path))).not.toContain(false);
    expect(
      ['test', 'src/gen', '.git', 'docs/b', 'docs/a/c', 'node_modules'].map((path) => set.enters(path)),
    ).not.toContain(true);
    expect([set.names('docs/a'), set.names('src/x')]).toEqual([true, false]);
    const all = compileGlobs(['**']);
    expect(['.git', '.git/refs', '.next', 'a/.git'].map((path) => all.enters(path))).toEqual([
      false,
      false,
      true,
      true,
    ]);
    const named = compileGlobs(['.git/refs/**']);
    expect(['.git', '.git/refs', '.git/objects'].map((path) => named.enters(path))).toEqual([true, true, false]);
  });

  it.each(['../x', 'a/../b', '/etc/passwd', 'a\0b', 'a\\b', 'x'.repeat(600), '{a,b}'.repeat(9), '..', '{a,..}'])(
    'refuses %j',
    (pattern) => {
      expect(() => compileGlobs([pattern])).toThrow(InputError);
      expect(() => compileGlobs([`!${pattern}`])).toThrow(InputError);
    },
  );

  it('refuses lists that are too long', () => {
    expect(() => compileGlobs(Array.from({ length: 300 }, () => 'a'))).toThrow(InputError);
    expect(() => compileGlobs(Array.from({ length: 100 }, () => 'x'.repeat(200)))).toThrow(InputError);
  });

  it.each([
    '*a'.repeat(100) + 'b',
    '***************X***',
    '*(*(*(a|b)))',
    '**/a/'.repeat(100) + 'b',
    '{'.repeat(250),
    '['.repeat(500),
    '{,'.repeat(200),
  ])('ends on %.20s... for names made to hurt', (pattern) => {
    const names = ['a'.repeat(255), 'a/'.repeat(2000) + 'a', '{'.repeat(200)];
    for (const name of names) expect(matches(pattern, name)).toBe(false);
  });
});
