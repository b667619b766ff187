import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decideIf } from '../../src/runs/decide-if.ts';
import * as machine from '../../src/runs/machine.ts';
import { newRecord } from '../../src/runs/new-record.ts';
import type { JobSpec } from '../../src/runs/plan.ts';
import { type FinalState, type RunRecord, isFinal } from '../../src/runs/run.ts';
import { jobSpec, need, planOf, pushEvent } from '../support/plans.ts';

const NOW = '2026-01-02T03:04:05.678Z';

/** Plays jobs to their end; what a job ends as when it runs is asked of `ends`. */
function play(jobs: JobSpec[], ends: (job: string) => FinalState): RunRecord {
  const plan = planOf(...jobs);
  const rules = { plan, decideIf, maxLosses: 3 };
  const made = newRecord({
    id: 'mjx00000r0123456789a',
    event: pushEvent(),
    sha: '',
    message: '',
    author: '',
    plan,
    createdAt: NOW,
  });
  let run = machine.advance(made, rules, NOW);
  while (!isFinal(run.state)) {
    const ready = run.jobs.find((job) => job.state === 'pending' && run.control[job.id]?.readyAt !== undefined);
    if (!ready) throw new Error('nothing goes on');
    const claimed = machine.claim(run, ready.id, 0, 'w', NOW);
    const outcome = { state: ends(ready.id), outputs: {}, infrastructure: false };
    run = machine.endJob(claimed, rules, ready.id, 1, outcome, NOW);
  }
  return run;
}
const stateOf = (run: RunRecord, id: string) => run.jobs.find((job) => job.id === id)?.state;

describe('an `if` of a job', () => {
  const asks = (id: string, text: string, ...needs: string[]) =>
    jobSpec(id, { needs: needs.map((one) => need(one)), runsOnStatus: 'always', if: text });

  it('sees a failure past a job that was skipped because of it', () => {
    const run = play(
      [
        jobSpec('build'),
        jobSpec('deploy', { needs: [need('build')] }),
        asks('after', "success() && event.branch == 'main'", 'deploy'),
        asks('tell', 'failure()', 'deploy'),
      ],
      (job) => (job === 'build' ? 'failed' : 'succeeded'),
    );
    expect(stateOf(run, 'after')).toBe('skipped');
    expect(stateOf(run, 'tell')).toBe('succeeded');
  });

  it('lets a failure pass that is allowed', () => {
    const run = play(
      [jobSpec('flaky', { allowFailure: true }), asks('good', 'success()', 'flaky'), asks('bad', 'failure()', 'flaky')],
      (job) => (job === 'flaky' ? 'failed' : 'succeeded'),
    );
    expect(stateOf(run, 'good')).toBe('succeeded');
    expect(stateOf(run, 'bad')).toBe('skipped');
  });

  it('neither success() nor failure() holds after a job that was merely skipped', () => {
    const run = play(
      [jobSpec('docs', { skip: 'no path' }), asks('good', 'success()', 'docs'), asks('bad', 'failure()', 'docs')],
      () => 'succeeded',
    );
    expect([stateOf(run, 'good'), stateOf(run, 'bad')]).toEqual(['skipped', 'skipped']);
  });

  it('success() and failure() say whether `status` would let the job run, whatever came before', () => {
    const row = fc.record({
      needs: fc.array(fc.record({ at: fc.nat(4), optional: fc.boolean() }), { maxLength: 3 }),
      allowFailure: fc.boolean(),
      isSkipped: fc.boolean(),
      ends: fc.constantFrom<FinalState>('succeeded', 'failed', 'errored', 'cancelled'),
    });
    const graphs = fc.array(row, { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(graphs, (rows) => {
        const needsOf = (index: number) =>
          [...new Map(rows[index]?.needs.map(({ at, optional }) => [at, optional]))]
            .filter(([at]) => at < index)
            .map(([at, optional]) => need(`j${at}`, optional));
        const jobs = rows.map(({ allowFailure, isSkipped }, index) =>
          jobSpec(`j${index}`, {
            needs: needsOf(index),
            allowFailure,
            ...(isSkipped ? { skip: 'no path' } : {}),
          }),
        );
        const last = needsOf(rows.length - 1);
        const asked = (['success', 'failure'] as const).flatMap((status) => [
          jobSpec(`${status}-by-status`, { needs: last, runsOnStatus: status }),
          jobSpec(`${status}-by-if`, { needs: last, runsOnStatus: 'always', if: `${status}()` }),
        ]);
        const run = play([...jobs, ...asked], (job) => rows[Number(job.slice(1))]?.ends ?? 'succeeded');
        for (const status of ['success', 'failure'])
          expect(stateOf(run, `${status}-by-if`)).toBe(stateOf(run, `${status}-by-status`));
      }),
      { numRuns: 500 },
    );
  });
});
