import { expect, it, onTestFinished } from 'vitest';
import { closeLogs } from '../../src/cli/close-logs.ts';
import { createLogStore } from '../../src/logs/log-store.ts';
import { newRecord } from '../../src/runs/new-record.ts';
import { makeRunId } from '../../src/runs/run-id.ts';
import type { LogKey, RunRecord } from '../../src/runs/run.ts';
import { jobSpec, planOf, pushEvent } from '../support/plans.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

function recordOf(state: RunRecord['state'], fence: number): RunRecord {
  const createdAt = '2026-01-02T03:04:05Z';
  const id = makeRunId(createdAt, 'test');
  const plan = planOf(jobSpec('build'));
  const record = newRecord({ id, event: pushEvent(), sha: '0'.repeat(40), message: '', author: '', plan, createdAt });
  return { ...record, state, number: 1, control: { build: { fence, losses: 0, retries: 0 } } };
}

it.each([
  { state: 'succeeded', fence: 3, closes: true },
  { state: 'cancelled', fence: 1, closes: true },
  { state: 'errored', fence: 1, closes: true },
  { state: 'succeeded', fence: 1, closes: false },
] as const)('closes what a dead worker left open, where there may be such ($state, $fence)', async (one) => {
  const store = createLogStore(await temporaryFolder());
  onTestFinished(() => store.dispose());
  const record = recordOf(one.state, one.fence);
  const keyOf = (attempt: number): LogKey => ({ run: record.id, job: 'build', attempt, part: '0' });
  for (const attempt of [1, 2]) await store.append(keyOf(attempt), 0, Buffer.from('line\n'));
  await store.close(keyOf(2));
  await closeLogs(store, record);
  expect(await store.stat(keyOf(1))).toEqual({ length: 5, closed: one.closes });
  expect(await store.stat(keyOf(2))).toEqual({ length: 5, closed: true });
});
