import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  directNeeds,
  endOf,
  explainExit,
  isAllowed,
  mayRetry,
  outcomeOf,
  reasonToSkip,
  statusAfter,
  stepsBehind,
  type StepResult,
} from '../../src/worker/step-rules.ts';
import { jobSpec, stepSpec } from '../support/job-fixture.ts';

const NO_HANDOVER = { env: '', output: '', path: '', summary: '' };
const NOTHING = { env: [], outputs: [], path: [] };
const need = (step: string) => ({ step, optional: false });

describe('order', () => {
  it('of the file is a chain', () => {
    const spec = jobSpec([stepSpec('a'), stepSpec('b'), stepSpec('c')]);
    expect([0, 1, 2].map((index) => directNeeds(spec, index))).toEqual([[], [0], [1]]);
    expect(stepsBehind(spec, 2)).toEqual([0, 1]);
  });

  it('of a graph is what the steps name, also when it stands later', () => {
    const spec = jobSpec([
      stepSpec('a', { needs: [need('c')] }),
      stepSpec('b'),
      stepSpec('c', { needs: [need('b'), need('gone')] }),
    ]);
    expect([0, 1, 2].map((index) => directNeeds(spec, index))).toEqual([[2], [], [1]]);
    expect(stepsBehind(spec, 0)).toEqual([1, 2]);
  });
});

describe('what came before', () => {
  it.each([{}, { failed: 'a' }, { missing: 'b' }, { failed: 'a', missing: 'b' }])(
    '%j: success() and failure() are true where that status runs',
    (behind) => {
      const runs = (runsOnStatus: 'success' | 'failure') =>
        reasonToSkip(stepSpec('x', { runsOnStatus }), behind, undefined) === undefined;
      expect(statusAfter(behind)).toEqual({ success: runs('success'), failure: runs('failure') });
    },
  );
});

describe('what an exit means', () => {
  const stop = { state: 'failed' as const, reason: 'timed out after 10s' };
  it.each([
    [{ code: 0, handover: NO_HANDOVER }, undefined, { state: 'succeeded', exitCode: 0 }],
    [{ code: 7, handover: NO_HANDOVER }, undefined, { state: 'failed', exitCode: 7 }],
    [{ code: 143, reason: 'cancelled' as const, handover: NO_HANDOVER }, stop, stop],
    // It ended by itself just before it was to be ended.
    [{ code: 0, handover: NO_HANDOVER }, stop, { state: 'succeeded', exitCode: 0 }],
    [
      { code: 137, reason: 'out of memory' as const, handover: NO_HANDOVER },
      undefined,
      { state: 'failed', reason: 'out of memory', exitCode: 137 },
    ],
  ])('%j, stopped by %j', (exit, why, end) => {
    expect(endOf(exit, why)).toEqual(end);
  });

  it('is said in words where the code does not speak', () => {
    expect(explainExit({ state: 'failed', reason: 'out of memory', exitCode: 137 }, 512 * 1024 ** 2)).toBe(
      'killed: out of memory (limit 512 MiB)',
    );
    expect(explainExit({ state: 'failed', exitCode: 137 }, undefined)).toContain('killed');
    expect(explainExit({ state: 'failed', exitCode: 1 }, undefined)).toBeUndefined();
  });
});

describe('retry and allow-failure', () => {
  const retry = { count: 2, delayMs: 0, infrastructure: false };
  const failed = (exitCode?: number) => ({
    state: 'failed' as const,
    ...(exitCode === undefined ? {} : { exitCode }),
  });
  const ours = { state: 'errored' as const, infrastructure: true };

  it('count the tries, look at exit codes, and take our errors where asked', () => {
    expect(mayRetry(retry, 1, failed(1))).toBe(true);
    expect(mayRetry(retry, 2, failed())).toBe(true);
    expect(mayRetry(retry, 3, failed(1))).toBe(false);
    expect(mayRetry(retry, 1, { state: 'cancelled' })).toBe(false);
    expect(mayRetry(retry, 1, ours)).toBe(false);
    expect(mayRetry({ ...retry, infrastructure: true }, 1, ours)).toBe(true);
    expect(mayRetry({ ...retry, infrastructure: true }, 1, { state: 'errored' })).toBe(false);
    expect(mayRetry({ ...retry, exitCodes: [] }, 1, failed(1))).toBe(false);
    expect(mayRetry({ ...retry, exitCodes: [4] }, 1, failed(4))).toBe(true);
    expect(mayRetry({ ...retry, exitCodes: [4] }, 1, failed())).toBe(false);
  });

  it('let failures pass, never our errors or a cancel', () => {
    expect(isAllowed(true, failed())).toBe(true);
    expect(isAllowed([1], failed(1))).toBe(true);
    expect(isAllowed([1], failed(2))).toBe(false);
    expect(isAllowed([1], failed())).toBe(false);
    expect(isAllowed(true, ours)).toBe(false);
    expect(isAllowed(true, { state: 'cancelled' })).toBe(false);
    expect(isAllowed(true, { state: 'succeeded', exitCode: 0 })).toBe(false);
  });
});

describe('outcome of the job', () => {
  it('succeeds only when no failure counts, and names a step that failed', () => {
    const state = fc.constantFrom('succeeded' as const, 'failed' as const, 'skipped' as const, 'errored' as const);
    const result = fc.record({ state, allowed: fc.boolean() }).map((one): StepResult => ({ ...one, ...NOTHING }));
    fc.assert(
      fc.property(fc.array(result, { minLength: 1, maxLength: 6 }), (results) => {
        const spec = jobSpec(results.map((_, index) => stepSpec('x', { name: `s${index}` })));
        const outcome = outcomeOf(spec, results, undefined);
        const bad = results.filter((one) => !one.allowed && (one.state === 'failed' || one.state === 'errored'));
        expect(outcome.state === 'succeeded').toBe(bad.length === 0);
        if (bad.length === 0) return;
        expect(outcome.state).toBe(bad.some((one) => one.state === 'errored') ? 'errored' : 'failed');
        const named = results[Number(/^step s(\d+):/.exec(outcome.reason ?? '')?.[1])];
        expect(bad).toContain(named);
      }),
    );
  });

  it('is the reason it was stopped for, whatever the steps say', () => {
    const spec = jobSpec([stepSpec('x')]);
    expect(outcomeOf(spec, [{ state: 'failed', ...NOTHING }], { state: 'cancelled', reason: 'superseded' })).toEqual({
      state: 'cancelled',
      reason: 'superseded',
      infrastructure: false,
    });
  });
});
