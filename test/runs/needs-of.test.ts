import { expect, test } from 'vitest';
import { needsOf } from '../../src/runs/needs-of.ts';
import type { Job } from '../../src/runs/run.ts';
import { jobSpec } from '../support/plans.ts';

const cell = (id: string, state: Job['state'], outputs?: Record<string, string>): Job => ({
  id,
  name: id,
  state,
  attempt: 1,
  needs: [],
  steps: [],
  ...(outputs ? { outputs } : {}),
});

test('of the cells of a matrix the worst result, and of each output one that is not empty', () => {
  const spec = jobSpec('deploy', {
    needs: ['a', 'b', 'c'].map((id) => ({ job: `pack-${id}`, key: 'pack', optional: false })),
  });
  const jobs = [
    cell('pack-a', 'succeeded', { version: '', who: 'a', nobody: '' }),
    cell('pack-b', 'failed', { version: '1.2', who: 'b', nobody: '' }),
    cell('pack-c', 'succeeded', { version: '', who: 'c' }),
  ];
  expect(needsOf(spec, jobs)).toEqual({
    pack: { result: 'failed', outputs: { version: '1.2', who: 'c', nobody: '' } },
  });
});
