import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseDuration } from '../../src/config/units.ts';
import { formatDuration, pause } from '../../src/worker/stop.ts';

describe('durations in words', () => {
  it.each([
    [0, '0ms'],
    [300, '300ms'],
    [10_000, '10s'],
    [90_000, '1m30s'],
    [3_600_000, '1h'],
    [90_061_001, '1d1h1m1s1ms'],
  ])('%d is %s', (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });

  it('mean what the parts mean', () => {
    fc.assert(
      fc.property(fc.nat({ max: 10 ** 10 }), (ms) => {
        const parts = formatDuration(ms).match(/\d+(ms|[dhms])/g) ?? [];
        expect(parts.reduce((sum, part) => sum + (parseDuration(part) ?? Number.NaN), 0)).toBe(ms);
      }),
    );
  });
});

describe('pause', () => {
  it('ends with the signal', async () => {
    const stop = new AbortController();
    const waiting = pause(10 ** 12, stop.signal);
    stop.abort();
    expect(await waiting).toBe(false);
    expect(await pause(10 ** 12, stop.signal)).toBe(false);
    expect(await pause(0, new AbortController().signal)).toBe(true);
  });
});
