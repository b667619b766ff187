import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatAgo, formatDuration, formatSize, splitMessage } from '../../src/web/format.ts';
import { shareLines } from '../../src/web/run-view.ts';

const start = '2026-11-24T06:00:00.000Z';
const later = (ms: number) => new Date(Date.parse(start) + ms).toISOString();

test.each([
  [0, '0 ms'],
  [420, '420 ms'],
  [1_420, '1.4 s'],
  [9_940, '9.9 s'],
  [9_960, '10 s'],
  [59_600, '1 min 0 s'],
  [185_000, '3 min 5 s'],
  [7_800_000, '2 h 10 min'],
  [-5, '0 ms'],
])('%d ms is %s', (ms, text) => expect(formatDuration(start, later(ms))).toBe(text));

test.each([
  [30_000, 'just now'],
  [-30_000, 'just now'],
  [300_000, '5 min ago'],
  [3 * 3_600_000, '3 h ago'],
  [50 * 3_600_000, '2026-11-24'],
])('%d ms later it was %s', (ms, text) => expect(formatAgo(start, Date.parse(start) + ms)).toBe(text));

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [4_200, '4.2 KB'],
  [1_000_000_000, '1.0 GB'],
])('%d bytes are %s', (bytes, text) => expect(formatSize(bytes)).toBe(text));

test('a message without a first line still has something to click on', () => {
  expect(splitMessage('')).toEqual({ subject: '(no message)', body: '' });
  expect(splitMessage('one\n\ntwo\nthree\n')).toEqual({ subject: 'one', body: 'two\nthree' });
});

test('small logs are shown whole, large ones share the rest', () => {
  expect(shareLines([10, 90_000, 20, 90_000], 5_000)).toEqual([10, 2_485, 20, 2_485]);
  fc.assert(
    fc.property(fc.array(fc.nat(20_000), { maxLength: 40 }), (counts) => {
      const shares = shareLines(counts, 5_000);
      expect(shares.every((share, index) => share <= counts[index]!)).toBe(true);
      const total = (list: number[]) => list.reduce((a, b) => a + b, 0);
      expect(total(shares)).toBe(Math.min(5_000, total(counts)));
    }),
  );
});
