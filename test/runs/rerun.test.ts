import { describe, expect, it } from 'vitest';
import * as machine from '../../src/runs/machine.ts';
import { newRecord } from '../../src/runs/new-record.ts';
import { rerunOf } from '../../src/runs/rerun.ts';
import type { FinalState, RunRecord } from '../../src/runs/run.ts';
import { jobSpec, need, planOf, pushEvent } from '../support/plans.ts';

const NOW = '2026-01-02T03:04:05.678Z';
const LATER = '2026-01-03T03:04:05.678Z';
const plan = planOf(jobSpec('build'), jobSpec('lint'), jobSpec('test', { needs: [need('build')] }));
const rules = { plan, decideIf: () => true, maxLosses: 3 };

function begin(): RunRecord {
  const event = pushEvent();
  const made = { id: 'mjx00000r0123456789a', event, sha: '', message: '', author: '', plan, createdAt: NOW };
  return machine.advance(newRecord(made), rules, NOW);
}
const claim = (run: RunRecord, job: string): RunRecord => machine.claim(run, job, 0, 'w', NOW);
function end(run: RunRecord, job: string, state: FinalState, reason?: string): RunRecord {
  const outcome = { state, outputs: {}, infrastructure: false, ...(reason === undefined ? {} : { reason }) };
  return machine.endJob(claim(run, job), rules, job, 1, outcome, NOW);
}

describe('a re-run of one job', () => {
  it('is refused while a job that it would keep has not ended', () => {
    const refusal = expect.objectContaining({ code: 'run-not-over', status: 409 }) as Error;
    const running = end(claim(begin(), 'lint'), 'build', 'succeeded');
    expect(() => rerunOf(running, plan, { jobs: { job: 'build' } }, LATER)).toThrow(refusal);
    const waiting = end(begin(), 'build', 'succeeded');
    expect(() => rerunOf(waiting, plan, { jobs: { job: 'build' } }, LATER)).toThrow(refusal);
  });

  it('nor are those made that failed, while another has not ended: it would run twice at once', () => {
    const refusal = expect.objectContaining({ code: 'run-not-over', status: 409 }) as Error;
    const running = end(claim(begin(), 'lint'), 'build', 'failed');
    expect(() => rerunOf(running, plan, { jobs: 'failed' }, LATER)).toThrow(refusal);
    const over = end(running, 'lint', 'succeeded');
    expect(rerunOf(over, plan, { jobs: 'failed' }, LATER).kept).toEqual(['lint']);
  });

  it('is made as soon as those have ended, though what runs again has not', () => {
    const run = claim(end(begin(), 'lint', 'succeeded'), 'build');
    const { record, kept } = rerunOf(run, plan, { jobs: { job: 'build' } }, LATER);
    expect(kept).toEqual(['lint']);
    expect(record.jobs.map(({ state }) => state)).toEqual(['pending', 'succeeded', 'pending']);
  });

  it('says of what it keeps why it ended, or else where it is from', () => {
    let run = end(begin(), 'lint', 'failed', 'timed out after 10s');
    run = end(end(run, 'build', 'succeeded'), 'test', 'failed');
    const { record } = rerunOf(run, plan, { jobs: { job: 'test' } }, LATER);
    expect(record.jobs.map(({ reason }) => reason)).toEqual([
      `kept from run ${run.id}`,
      'timed out after 10s',
      undefined,
    ]);
  });
});

it('a re-run of all is made at any time', () => {
  const { record, kept } = rerunOf(claim(begin(), 'build'), plan, { jobs: 'all' }, LATER);
  expect(kept).toEqual([]);
  expect(record).toMatchObject({ state: 'pending', rerunOf: 'mjx00000r0123456789a', createdAt: LATER });
});
