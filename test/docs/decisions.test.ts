/** Decisions: numbered without a gap, of one form, half a page each. */
import { expect, test } from 'vitest';
import { markdownFiles, readText } from '../support/markdown.ts';

const decisions = markdownFiles.filter((file) => file.startsWith('docs/decisions/'));

test('they are numbered without a gap', () => {
  const numbers = decisions.map((file) => /\/(\d{4})-[a-z0-9-]+\.md$/.exec(file)?.[1]);
  expect(numbers).toEqual(decisions.map((_, index) => String(index + 1).padStart(4, '0')));
  expect(numbers.length).toBeGreaterThan(5);
});

test.each(decisions)('%s has context, choice, alternatives and consequences', (file) => {
  const text = readText(file);
  expect([...text.matchAll(/^## (.+)$/gm)].map(([, heading]) => heading)).toEqual([
    'Context',
    'Choice',
    'Considered',
    'Consequences',
  ]);
  expect(text).toMatch(new RegExp(`^# ${Number(/\/(\d{4})/.exec(file)?.[1])}\\. \\S`));
  expect(text.split(/\s+/).length).toBeLessThan(520);
});
