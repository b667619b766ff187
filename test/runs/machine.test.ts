import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { jobOf } from '../../src/runs/lookups.ts';
import * as machine from '../../src/runs/machine.ts';
import { newRecord } from '../../src/runs/new-record.ts';
import type { JobSpec, Plan } from '../../src/runs/plan.ts';
import type { Rules } from '../../src/runs/readiness.ts';
import { type RunRecord, isFinal } from '../../src/runs/run.ts';
import { jobSpec, need, planOf, pushEvent } from '../support/plans.ts';

const NOW = '2026-01-02T03:04:05.678Z';
const rulesOf = (plan: Plan): Rules => ({ plan, decideIf: () => true, maxLosses: 3 });
const done = (state: 'succeeded' | 'failed' | 'errored', more = {}) => ({
  state,
  outputs: {},
  infrastructure: state === 'errored',
  ...more,
});

function begin(plan: Plan): RunRecord {
  const first = newRecord({
    id: 'mjx00000r0123456789a',
    event: pushEvent(),
    sha: 'a'.repeat(40),
    message: '',
    author: '',
    plan,
    createdAt: NOW,
  });
  return machine.advance(first, rulesOf(plan), NOW);
}

/** Claims and ends a job in one go. */
function play(record: RunRecord, plan: Plan, id: string, state: 'succeeded' | 'failed' | 'errored'): RunRecord {
  const fence = record.control[id]!.fence;
  const claimed = machine.claim(record, id, fence, 'w', NOW);
  expect(claimed).not.toBe(record);
  return machine.endJob(claimed, rulesOf(plan), id, fence + 1, done(state), NOW);
}

const stateOf = (record: RunRecord, id: string) => jobOf(record, id)!.state;

describe('a run', () => {
  it('readies what needs nothing, then what needed it, and ends when all ended', () => {
    const plan = planOf(jobSpec('build'), jobSpec('test', { needs: [need('build')] }));
    let run = begin(plan);
    expect(run.control['build']!.readyAt).toBe(NOW);
    expect(run.control['test']!.readyAt).toBeUndefined();
    expect(jobOf(run, 'test')!.waitingFor).toBe('job build');
    run = play(run, plan, 'build', 'succeeded');
    expect(run.state).toBe('running');
    run = play(run, plan, 'test', 'succeeded');
    expect(run).toMatchObject({ state: 'succeeded', endedAt: NOW });
  });

  it('skips what needs a failed job, and says which', () => {
    const plan = planOf(
      jobSpec('build'),
      jobSpec('test', { needs: [need('build')] }),
      jobSpec('deploy', { needs: [need('test')] }),
    );
    const run = play(begin(plan), plan, 'build', 'failed');
    expect(jobOf(run, 'test')).toMatchObject({ state: 'skipped', reason: 'needs build, which failed' });
    expect(jobOf(run, 'deploy')).toMatchObject({ state: 'skipped', reason: 'needs test, which was skipped' });
    expect(run.state).toBe('failed');
  });

  it('runs a notifier when something behind it failed, also past skipped jobs', () => {
    const notify = jobSpec('notify', { needs: [need('deploy')], runsOnStatus: 'failure' });
    const plan = planOf(jobSpec('build'), jobSpec('deploy', { needs: [need('build')] }), notify);
    expect(play(begin(plan), plan, 'build', 'failed').control['notify']!.readyAt).toBe(NOW);
    const fine = play(play(begin(plan), plan, 'build', 'succeeded'), plan, 'deploy', 'succeeded');
    expect(stateOf(fine, 'notify')).toBe('skipped');
    expect(fine.state).toBe('succeeded');
  });

  it('lets an optional need be skipped, and an allowed failure pass', () => {
    const plan = planOf(
      jobSpec('docs', { skip: 'no matching path' }),
      jobSpec('flaky', { allowFailure: true }),
      jobSpec('end', { needs: [need('docs', true), need('flaky')] }),
    );
    let run = play(begin(plan), plan, 'flaky', 'failed');
    run = play(run, plan, 'end', 'succeeded');
    expect(run.state).toBe('succeeded');
  });

  it('tries again under retry with a new attempt, then fails', () => {
    const plan = planOf(jobSpec('a', { retry: { count: 1, delayMs: 5000, exitCodes: [3], infrastructure: false } }));
    let run = begin(plan);
    run = machine.endJob(
      machine.claim(run, 'a', 0, 'w', NOW),
      rulesOf(plan),
      'a',
      1,
      done('failed', { exitCode: 3 }),
      NOW,
    );
    const waitingFor = 'its next try at 2026-01-02 03:04:10 UTC';
    expect(jobOf(run, 'a')).toMatchObject({ state: 'pending', attempt: 2, waitingFor });
    expect(run.control['a']!.notBefore).toBe('2026-01-02T03:04:10.678Z');
    const explainedAt = (now: string): string | undefined =>
      jobOf(
        machine.explainWaiting(run, rulesOf(plan), () => 'none is connected', now),
        'a',
      )?.waitingFor;
    expect(explainedAt(NOW)).toBe(waitingFor);
    expect(explainedAt('2026-01-02T03:04:10.679Z')).toBe('a worker (none is connected)');
    run = machine.endJob(
      machine.claim(run, 'a', 2, 'w', NOW),
      rulesOf(plan),
      'a',
      3,
      done('failed', { exitCode: 3 }),
      NOW,
    );
    expect(run.state).toBe('failed');
  });

  it('gives a job up after its worker was lost three times, and says so of the step that ran', () => {
    const steps = ['one', 'two', 'three'].map((name) => ({ ...jobSpec('a').steps[0]!, name }));
    const plan = planOf(jobSpec('a', { steps }));
    let run = begin(plan);
    for (const fence of [0, 2, 4]) {
      run = machine.claim(run, 'a', fence, 'w', NOW);
      run = machine.reportStep(run, 'a', fence + 1, 0, { state: 'succeeded' });
      run = machine.reportStep(run, 'a', fence + 1, 1, { state: 'running', startedAt: NOW });
      run = machine.releaseJob(run, rulesOf(plan), 'a', fence + 1, { counts: true, reason: 'worker w was lost' }, NOW);
      if (fence < 4) expect(jobOf(run, 'a')).toMatchObject({ state: 'pending', waitingFor: 'a worker' });
    }
    const reason = 'worker w was lost (3 times)';
    expect(jobOf(run, 'a')).toMatchObject({ state: 'errored', reason });
    expect(jobOf(run, 'a')!.steps).toEqual([
      { name: 'one', state: 'succeeded' },
      { name: 'two', state: 'errored', reason, startedAt: NOW, endedAt: NOW },
      { name: 'three', state: 'skipped', reason },
    ]);
    expect(run.state).toBe('errored');
  });

  it('ends waiting jobs at a cancel at once and running ones when they end', () => {
    const plan = planOf(jobSpec('a'), jobSpec('b', { needs: [need('a')] }));
    let run = machine.claim(begin(plan), 'a', 0, 'w', NOW);
    run = machine.requestCancel(run, rulesOf(plan), 'superseded', NOW);
    expect(run.state).toBe('running');
    expect(run.control['a']!.cancelRequested).toBe('superseded');
    expect(jobOf(run, 'b')).toMatchObject({ state: 'cancelled', reason: 'superseded' });
    run = machine.endJob(run, rulesOf(plan), 'a', 1, done('failed'), NOW);
    expect(run).toMatchObject({ state: 'cancelled', reason: 'superseded' });
  });

  it('refuses a worker whose fence is old', () => {
    const plan = planOf(jobSpec('a'));
    let run = machine.claim(begin(plan), 'a', 0, 'w1', NOW);
    expect(machine.claim(run, 'a', 0, 'w2', NOW)).toBe(run);
    run = machine.releaseJob(run, rulesOf(plan), 'a', 1, { counts: true, reason: 'lost' }, NOW);
    expect(machine.reportStep(run, 'a', 1, 0, { state: 'running' })).toBe(run);
    expect(machine.endJob(run, rulesOf(plan), 'a', 1, done('succeeded'), NOW)).toBe(run);
  });
});

/** Plans of up to five jobs. What each move must lead to is compared with a model in model.test.ts. */
const specs: fc.Arbitrary<JobSpec[]> = fc
  .array(
    fc.record({
      needs: fc.array(fc.nat(4), { maxLength: 3 }),
      status: fc.constantFrom('success' as const, 'failure' as const, 'always' as const),
      allow: fc.boolean(),
      retry: fc.integer({ min: 0, max: 2 }),
    }),
    { minLength: 1, maxLength: 5 },
  )
  .map((rows) =>
    rows.map((row, index) =>
      jobSpec(`j${index}`, {
        // Only earlier jobs, each once: the planner lets no cycle through.
        needs: [...new Set(row.needs.filter((one) => one < index))].map((one) => need(`j${one}`)),
        runsOnStatus: row.status,
        allowFailure: row.allow,
        retry: { count: row.retry, delayMs: 0, infrastructure: true },
      }),
    ),
  );

type Action =
  | { kind: 'claim' | 'lose' | 'handover' | 'tend' | 'start' | 'step'; job: number }
  | { kind: 'end'; job: number; state: 'succeeded' | 'failed' | 'errored'; stale: boolean }
  | { kind: 'cancel' };

const actions: fc.Arbitrary<Action[]> = fc.array(
  fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({
        kind: fc.constantFrom(...(['claim', 'lose', 'handover', 'tend', 'start', 'step'] as const)),
        job: fc.nat(4),
      }),
    },
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant('end' as const),
        job: fc.nat(4),
        state: fc.constantFrom('succeeded' as const, 'failed' as const, 'errored' as const),
        stale: fc.boolean(),
      }),
    },
    { weight: 1, arbitrary: fc.constant({ kind: 'cancel' as const }) },
  ),
  { maxLength: 60 },
);

describe('any interleaving of two workers, a reconciler and a user who cancels', () => {
  it('never leaves a final state, says why a step that ran was given up, never goes back an attempt, runs a job once to its end, and can always end', () => {
    fc.assert(
      fc.property(specs, actions, (jobs, script) => {
        const plan = planOf(...jobs);
        const rules = rulesOf(plan);
        let run = begin(plan);
        const ended = new Map<string, number>();
        const step = (next: RunRecord): void => {
          for (const before of run.jobs) {
            const after = jobOf(next, before.id)!;
            if (isFinal(before.state)) expect(after).toBe(before);
            expect(after.attempt).toBeGreaterThanOrEqual(before.attempt);
            expect(next.control[before.id]!.fence).toBeGreaterThanOrEqual(run.control[before.id]!.fence);
            if (!isFinal(before.state) && isFinal(after.state)) ended.set(before.id, (ended.get(before.id) ?? 0) + 1);
            for (const one of after.steps) if (one.state === 'errored') expect(one.reason).not.toBe(undefined);
            for (const [index, one] of before.steps.entries())
              if (after.attempt === before.attempt && isFinal(one.state)) expect(after.steps[index]).toBe(one);
          }
          if (isFinal(run.state)) expect(next).toBe(run);
          expect(isFinal(next.state)).toBe(next.jobs.every((job) => isFinal(job.state)));
          run = next;
        };
        for (const action of script) {
          if (action.kind === 'cancel') {
            step(machine.requestCancel(run, rules, 'cancelled by a user', NOW));
            continue;
          }
          const id = `j${action.job % jobs.length}`;
          const fence = run.control[id]!.fence;
          if (action.kind === 'claim') step(machine.claim(run, id, fence, 'w', NOW));
          else if (action.kind === 'lose')
            step(machine.releaseJob(run, rules, id, fence, { counts: true, reason: 'lost' }, NOW));
          else if (action.kind === 'handover')
            step(machine.releaseJob(run, rules, id, fence, { counts: false, reason: 'handed over' }, NOW));
          else if (action.kind === 'tend') step(machine.advance(run, rules, NOW));
          else if (action.kind === 'start') step(machine.reportStep(run, id, fence, 0, { state: 'running' }));
          else if (action.kind === 'step') step(machine.reportStep(run, id, fence, 0, { state: 'succeeded' }));
          else if ('state' in action) {
            const before = run;
            step(machine.endJob(run, rules, id, action.stale ? fence - 1 : fence, done(action.state), NOW));
            if (action.stale) expect(run).toBe(before);
          }
        }
        // Whatever happened, workers that go on to the end bring the run to its end.
        for (let round = 0; round < 100 && !isFinal(run.state); round++) {
          step(machine.advance(run, rules, NOW));
          for (const job of run.jobs) {
            const fence = run.control[job.id]!.fence;
            step(machine.claim(run, job.id, fence, 'w', NOW));
            step(machine.endJob(run, rules, job.id, run.control[job.id]!.fence, done('succeeded'), NOW));
          }
        }
        expect(isFinal(run.state)).toBe(true);
        for (const count of ended.values()) expect(count).toBe(1);
      }),
      { numRuns: 500 },
    );
  });
});
