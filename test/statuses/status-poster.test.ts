import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Job, type Run, STATES } from '../../src/runs/run.ts';
import {
  describeStatus,
  desiredStatus,
  isDue,
  nextRetryDelay,
  statusContext,
} from '../../src/statuses/status-poster.ts';

const RUN: Run = {
  id: '1',
  number: 1,
  repository: 'gitea/o/r',
  event: 'push',
  ref: 'refs/heads/main',
  sha: 'a'.repeat(40),
  message: '',
  author: '',
  state: 'running',
  createdAt: '2026-11-24T00:00:00.000Z',
  jobs: [],
};

function job(change: Partial<Job>): Job {
  return { id: 'test', name: 'test', needs: [], state: 'pending', attempt: 1, steps: [], ...change };
}

describe('describeStatus', () => {
  const startedAt = '2026-11-24T00:00:00.000Z';
  const at = (ms: number) => ({ startedAt, endedAt: new Date(Date.parse(startedAt) + ms).toISOString() });

  test.each<[Partial<Job>, string, string]>([
    [{ state: 'pending' }, 'pending', 'Pending'],
    [{ state: 'pending', waitingFor: 'jobs build, lint' }, 'pending', 'Waiting for jobs build, lint'],
    [{ state: 'pending', waitingFor: 'a worker with labels gpu' }, 'pending', 'Queued or running'],
    [
      { state: 'pending', waitingFor: 'a worker (none is connected)' },
      'pending',
      'Waiting for a worker (none is connected)',
    ],
    [{ state: 'running', startedAt }, 'pending', 'Running'],
    [{ state: 'succeeded', ...at(850) }, 'success', 'Succeeded in 850 ms'],
    [{ state: 'succeeded', ...at(12_400) }, 'success', 'Succeeded in 12 s'],
    [{ state: 'succeeded', ...at(200_000) }, 'success', 'Succeeded in 3 m 20 s'],
    [{ state: 'succeeded', ...at(3_900_000) }, 'success', 'Succeeded in 1 h 5 m'],
    [{ state: 'succeeded' }, 'success', 'Succeeded'],
    [
      { state: 'failed', reason: 'step test: exit code 2', ...at(2000) },
      'failure',
      'Failed after 2 s: step test: exit code 2',
    ],
    [{ state: 'failed', reason: 'timed out after 10m' }, 'failure', 'Failed: timed out after 10m'],
    [{ state: 'cancelled', reason: 'cancelled by a user' }, 'error', 'Cancelled by a user'],
    [{ state: 'cancelled', reason: 'superseded' }, 'error', 'Superseded by a newer run'],
    [
      { state: 'skipped', reason: 'no changed path matches src/**' },
      'success',
      'Skipped: no changed path matches src/**',
    ],
    [
      { state: 'errored', reason: 'worker w1 was lost (3 times)' },
      'error',
      'Could not run: worker w1 was lost (3 times)',
    ],
  ])('%j', (change, state, description) => {
    expect(describeStatus(RUN, job(change))).toEqual({ state, description });
  });

  test('a run without jobs speaks for itself', () => {
    const run: Run = { ...RUN, state: 'errored', reason: '.impgem.yml:3:1: no such key' };
    expect(describeStatus(run, undefined)).toEqual({
      state: 'error',
      description: 'Could not run: .impgem.yml:3:1: no such key',
    });
  });

  test('is always one line that a forge takes', () => {
    fc.assert(
      fc.property(fc.constantFrom(...STATES), fc.string({ unit: 'binary', maxLength: 400 }), (state, reason) => {
        const { description } = describeStatus(RUN, job({ state, reason }));
        expect(Array.from(description).length).toBeLessThanOrEqual(140);
        expect(description).not.toMatch(/\p{Cc}/u);
      }),
    );
  });
});

test('statusContext: stable names, never longer than a forge takes, never two of one name', () => {
  expect(statusContext('impgem', undefined, 'test')).toBe('impgem/test');
  expect(statusContext('impgem', '', 'test (20, linux)')).toBe('impgem/test (20, linux)');
  expect(statusContext('ci', 'nightly', 'test')).toBe('ci/nightly/test');
  expect(statusContext('impgem', undefined, undefined)).toBe('impgem');
  const long = ['a', 'b'].map((end) => statusContext('impgem', undefined, 'x'.repeat(300) + end));
  expect(long[0]).not.toBe(long[1]);
  expect(long[0]!.length).toBeLessThanOrEqual(200);
});

test('nextRetryDelay: grows, is bounded, and never comes before the forge allows', () => {
  expect(nextRetryDelay(1, undefined, () => 0)).toBe(500);
  expect(nextRetryDelay(1, undefined, () => 1)).toBe(1000);
  expect(nextRetryDelay(4, undefined, () => 1)).toBe(8000);
  expect(nextRetryDelay(1000, undefined, () => 1)).toBe(60_000);
  expect(nextRetryDelay(1, 5000, () => 0)).toBe(5000);
  expect(nextRetryDelay(1, 5000, () => 1)).toBe(6000);
  fc.assert(
    fc.property(fc.nat(100), (attempt) => {
      const delay = nextRetryDelay(attempt);
      expect(delay).toBeGreaterThanOrEqual(500);
      expect(delay).toBeLessThanOrEqual(60_000);
    }),
  );
});

describe('isDue', () => {
  const status = (run: string, change: Partial<Job>) => desiredStatus({ ...RUN, id: run }, job(change));
  const failed: Partial<Job> = { state: 'failed' };
  const skipped: Partial<Job> = { state: 'skipped', reason: 'event is pull_request (wants push)' };
  const waits: Partial<Job> = { state: 'pending' };

  test.each<[string, Partial<Job>, string, Partial<Job>, boolean]>([
    ['2', failed, '1', failed, true],
    ['1', failed, '2', failed, false],
    ['1', failed, '1', failed, false],
    ['1', failed, '1', waits, true],
    ['1', waits, '1', failed, false],
    ['2', waits, '1', failed, true],
    // Of another event: never a skipped one in the place of what was found out, whichever comes first.
    ['2', skipped, '1', failed, false],
    ['2', skipped, '1', waits, false],
    ['1', failed, '2', skipped, true],
    ['1', waits, '2', skipped, true],
    ['2', skipped, '1', skipped, true],
    ['1', skipped, '2', skipped, false],
    ['1', skipped, '1', waits, true],
  ])('run %s %j over run %s %j: %s', (run, change, other, before, due) => {
    expect(isDue(status(run, change), status(other, before))).toBe(due);
  });

  const running: Partial<Job> = { state: 'running' };
  const needs: Partial<Job> = { state: 'pending', waitingFor: 'jobs build, lint' };
  const ready: Partial<Job> = { state: 'pending', waitingFor: 'a worker' };
  const full: Partial<Job> = { state: 'pending', waitingFor: 'a worker (w1: only 5 MB free on its disk)' };

  test.each<[Partial<Job>, Partial<Job>, boolean]>([
    [running, needs, true],
    [running, full, true],
    [full, needs, true],
    [full, ready, true],
    [full, running, true],
    // What stands there is true all the same.
    [running, ready, false],
    [ready, needs, false],
    [ready, running, false],
    [running, running, false],
    // A detail.
    [{ ...needs, waitingFor: 'job lint' }, needs, false],
    [{ ...full, waitingFor: 'a worker (none is connected)' }, full, false],
    [running, failed, false],
  ])('%j over %j of the same run: %s', (change, before, due) => {
    expect(isDue(status('1', change), status('1', before))).toBe(due);
  });

  test('of what nothing stands for yet', () => {
    expect(isDue(status('1', skipped), undefined)).toBe(true);
  });
});
