import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isBranchName, isObjectId, isRefName } from '../../src/forges/ref-name.ts';

function gitAllows(ref: string): boolean {
  try {
    execFileSync('git', ['check-ref-format', ref], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

test.each([
  'refs/heads/main',
  'refs/heads/fix/ünï-1',
  'refs/heads/feature/$(id)"q;&|',
  'refs/heads/-x',
  'refs/heads/@',
  'refs/heads/a@b',
  'refs/tags/v1.0.0',
  'refs/pull/1/head',
  'refs/heads/👾',
])('%j is a reference', (ref) => {
  expect(isRefName(ref)).toBe(true);
  expect(gitAllows(ref)).toBe(true);
});

test.each([
  ...['', 'main', 'refs', 'refs/heads', 'refs/heads/', 'refs//x', 'refs/heads//x', '/refs/heads/x', 'refs/heads/x/'],
  ...[
    'refs/heads/.x',
    'refs/heads/x/.y',
    'refs/heads/x.lock',
    'refs/heads/x.lock/y',
    'refs/heads/x.',
    'refs/heads/x..y',
  ],
  ...['refs/heads/x y', 'refs/heads/x~', 'refs/heads/x^', 'refs/heads/x:y', 'refs/heads/x?', 'refs/heads/x*'],
  ...[
    'refs/heads/x[',
    'refs/heads/x\\y',
    'refs/heads/x@{1}',
    'refs/heads/x\ty',
    'refs/heads/x\ny',
    'refs/heads/x\u007f',
  ],
  ...['heads/x', 'ext::sh -c id', '--upload-pack=x', 'refs/heads/\ud800'],
])('%j is none', (ref) => {
  expect(isRefName(ref)).toBe(false);
});

test('never allows what git would not', () => {
  const part = fc.string({
    unit: fc.constantFrom(...Array.from('ab.@{/~^:?*[\\ -_\u0001é$')),
    minLength: 1,
    maxLength: 8,
  });
  fc.assert(
    fc.property(part, (name) => {
      const ref = `refs/heads/${name}`;
      if (isRefName(ref)) expect(gitAllows(ref)).toBe(true);
    }),
    { numRuns: 200 },
  );
});

test('a branch is no option and not HEAD', () => {
  expect(['main', 'a/b', '@x'].every(isBranchName)).toBe(true);
  expect(['-x', '--upload-pack=id', 'HEAD', '', 'a b', '../x'].some(isBranchName)).toBe(false);
});

test('object ids are full, hex, lower case, and not nothing', () => {
  expect(isObjectId('a'.repeat(40))).toBe(true);
  expect(isObjectId('0123456789abcdef'.repeat(4))).toBe(true);
  for (const id of [
    '',
    'a'.repeat(39),
    'a'.repeat(41),
    'A'.repeat(40),
    'g'.repeat(40),
    '0'.repeat(40),
    `${'a'.repeat(40)}\n`,
  ])
    expect(isObjectId(id)).toBe(false);
});
