/** The run without a server: order, concurrency, groups, retries and cancel, over jobs that do as they are told. */
import { describe, expect, it } from 'vitest';
import { executeRun, type LocalRunDeps } from '../../src/cli/local/execute-run.ts';
import { newRecord } from '../../src/runs/new-record.ts';
import type { JobSpec, Plan } from '../../src/runs/plan.ts';
import type { RunRecord } from '../../src/runs/run.ts';
import type { JobResult } from '../../src/worker/ports.ts';
import { assignment, jobSpec, stepSpec } from '../support/job-fixture.ts';

const job = (id: string, change: Partial<JobSpec> = {}): JobSpec =>
  jobSpec([stepSpec('true')], { id, key: id, name: id, ...change });
const need = (id: string) => ({ job: id, key: id, optional: false });
const PASSED: JobResult = { state: 'succeeded', outputs: {}, infrastructure: false };
const FAILED: JobResult = { state: 'failed', reason: 'exit code 1', exitCode: 1, outputs: {}, infrastructure: false };

function start(jobs: JobSpec[], deps: Partial<LocalRunDeps> = {}, change: Partial<Plan> = {}) {
  const plan: Plan = {
    pipeline: '',
    file: '.impgem.yml',
    clone: { skip: false, depth: 0, submodules: false, lfs: false },
    jobs,
    ...change,
  };
  const { event, run } = assignment(jobSpec([stepSpec('true')]));
  const first = newRecord({ id: 'r1', event, plan, sha: run.sha, message: '', author: '', createdAt: run.createdAt });
  const cancel = new AbortController();
  const trace: string[] = [];
  let atOnce = 0;
  let most = 0;
  const seen: RunRecord[] = [];
  const done = executeRun(first, {
    plan,
    concurrency: 4,
    links: {},
    cancel: cancel.signal,
    onChange: (record) => seen.push(record),
    runJob: () => Promise.resolve(PASSED),
    ...deps,
    ...(deps.runJob
      ? {
          runJob: async (...args) => {
            trace.push(`${args[0].spec.id}#${args[0].attempt}`);
            most = Math.max(most, ++atOnce);
            try {
              return (await deps.runJob?.(...args)) ?? PASSED;
            } finally {
              atOnce--;
            }
          },
        }
      : {}),
  });
  return { done, cancel, trace, most: () => most, seen };
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('a run without a server', () => {
  it('runs what needs nothing at once, up to the concurrency, and hands outputs on', async () => {
    const needs: unknown[] = [];
    const { done, trace, most } = start([job('a'), job('b'), job('c'), job('d', { needs: [need('a')] })], {
      concurrency: 2,
      runJob: async (given) => {
        if (given.spec.id === 'd') needs.push(given.needs);
        await turn();
        return { ...PASSED, outputs: given.spec.id === 'a' ? { v: '1' } : {} };
      },
    });
    expect((await done).state).toBe('succeeded');
    expect(trace.slice(0, 3).sort()).toEqual(['a#1', 'b#1', 'c#1']);
    expect(most()).toBe(2);
    expect(needs).toEqual([{ a: { result: 'succeeded', outputs: { v: '1' } } }]);
  });

  it('tries a job again as its `retry` says, as a new attempt, and waits the delay', async () => {
    const retry = { count: 2, delayMs: 5, infrastructure: false };
    const { done, trace } = start([job('a', { retry })], {
      runJob: (given) => Promise.resolve(given.attempt < 3 ? FAILED : PASSED),
    });
    expect((await done).state).toBe('succeeded');
    expect(trace).toEqual(['a#1', 'a#2', 'a#3']);
  });

  it('runs jobs of one concurrency group one after the other', async () => {
    const concurrency = { group: 'deploy', mode: 'queue' as const };
    const { done, most, trace } = start(
      [job('a', { concurrency }), job('b', { concurrency }), job('c', { concurrency })],
      {
        runJob: async () => {
          await turn();
          return PASSED;
        },
      },
    );
    expect((await done).state).toBe('succeeded');
    expect(trace).toHaveLength(3);
    expect(most()).toBe(1);
  });

  it('runs under a concurrency of the whole pipeline', async () => {
    const { done } = start([job('a')], {}, { concurrency: { group: 'all', mode: 'cancel' } });
    expect((await done).state).toBe('succeeded');
  });

  it('makes a job whose runner throws errored, and the run with it', async () => {
    const { done } = start([job('a'), job('b', { needs: [need('a')] })], {
      runJob: () => Promise.reject(new Error('boom')),
    });
    const { state, reason, jobs } = await done;
    expect([state, reason]).toEqual(['errored', 'boom']);
    expect(jobs.map((one) => one.state)).toEqual(['errored', 'skipped']);
  });

  it('cancels what runs and what waits, also a retry that waits', async () => {
    const retry = { count: 1, delayMs: 1_000_000, infrastructure: false };
    const { done, cancel, seen } = start([job('a', { retry }), job('b'), job('c', { needs: [need('b')] })], {
      runJob: (given, _report, signal) =>
        given.spec.id === 'a'
          ? Promise.resolve(FAILED)
          : new Promise((resolve) => {
              signal.addEventListener('abort', () =>
                resolve({ ...PASSED, state: 'cancelled', reason: String(signal.reason) }),
              );
            }),
    });
    while (seen.at(-1)?.jobs[0]?.attempt !== 2) await turn();
    cancel.abort('cancelled by Ctrl-C');
    const { state, jobs } = await done;
    expect(state).toBe('cancelled');
    expect(jobs.map((one) => [one.state, one.reason])).toEqual(
      ['a', 'b', 'c'].map(() => ['cancelled', 'cancelled by Ctrl-C']),
    );
  });

  it('is over at once when there is nothing to run, or it was cancelled before', async () => {
    expect((await start([job('a', { skip: 'when: no path matches' })]).done).state).toBe('skipped');
    const cancel = new AbortController();
    cancel.abort('cancelled by Ctrl-C');
    expect((await start([job('a')], { cancel: cancel.signal }).done).state).toBe('cancelled');
  });

  it('shows every state once, the last one final', async () => {
    const { done, seen } = start([job('a')]);
    const last = await done;
    expect(seen.at(-1)).toBe(last);
    expect(new Set(seen).size).toBe(seen.length);
  });
});
