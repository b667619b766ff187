import { expect, it } from 'vitest';
import { createUsedLast } from '../../src/runs/used-last.ts';
import { planOf } from '../support/plans.ts';

it('what was used last is kept up to a size together: what was used longest ago goes first, the newest stays', () => {
  const cache = createUsedLast(100);
  const kept = (): string[] => ['a', 'b', 'c', 'd'].filter((run) => cache.get(run));
  const plan = planOf();
  cache.put('a', plan, 40);
  cache.put('b', plan, 40);
  expect(cache.get('a')).toBe(plan);
  cache.put('c', plan, 40);
  expect(kept()).toEqual(['a', 'c']);
  cache.put('c', plan, 60);
  expect(kept()).toEqual(['a', 'c']);
  cache.drop('a');
  cache.put('d', plan, 41);
  expect(kept()).toEqual(['d']);
  cache.put('b', plan, 1000);
  expect(kept()).toEqual(['b']);
});
