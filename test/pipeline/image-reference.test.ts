import { describe, expect, test } from 'vitest';
import { parseImageReference } from '../../src/pipeline/image-reference.ts';

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;

describe('image references', () => {
  test.each([
    ['alpine', {}],
    ['node:22-bookworm-slim', { tag: '22-bookworm-slim' }],
    ['library/node', {}],
    ['ghcr.io/octo/app:1', { tag: '1' }],
    ['localhost:5000/a/b', {}],
    ['registry.example.org:5000/team/app:1.2', { tag: '1.2' }],
    [`node@${digest}`, { digest }],
    [`node:22@${digest}`, { tag: '22', digest }],
    ['a__b/c-d.e', {}],
  ])('%s', (text, expected) => {
    expect(parseImageReference(text)).toEqual(expected);
  });

  test.each([
    '',
    'alpine;id',
    '--privileged',
    '-x',
    'UPPER',
    'a b',
    'a\n',
    'a:',
    'a:$(id)',
    'a@sha256:short',
    '/a',
    'a/',
    'a//b',
    'http://x/y',
    '../x',
    'a'.repeat(500),
    `${'a-'.repeat(190)}A`,
    `${'a/'.repeat(190)}A`,
  ])('refuses %s', (text) => {
    expect(parseImageReference(text)).toBeUndefined();
  });
});
