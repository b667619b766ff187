/** The machine beside a reference model, move by move: alone, and as the lifecycle writes it to a real Redis. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as machine from '../../src/runs/machine.ts';
import { newRecord } from '../../src/runs/new-record.ts';
import type { JobSpec } from '../../src/runs/plan.ts';
import type { RunRecord } from '../../src/runs/run.ts';
import { makeRunId } from '../../src/runs/run-id.ts';
import { type IntakeFixture, startIntake } from '../support/intake-fixture.ts';
import { jobSpec, need, planOf, pushEvent } from '../support/plans.ts';
import { type End, MAX_LOSSES, createRunModel } from '../support/run-model.ts';

/** The run that is tried. Each move says whether it was allowed. */
interface Subject {
  claim(job: string, fence: number, worker: string): Promise<boolean>;
  beginAttempt(job: string, fence: number): Promise<boolean>;
  step(job: string, fence: number): Promise<boolean>;
  end(job: string, fence: number, end: End): Promise<boolean>;
  release(job: string, fence: number, counts: boolean): Promise<boolean>;
  cancel(): Promise<unknown>;
  tend(): Promise<unknown>;
  look(): Promise<RunRecord>;
}

const NOW = '2026-01-02T03:04:05.678Z';
const outcome = (state: End) => ({ state, outputs: {}, infrastructure: state === 'errored' });
const why = (counts: boolean) => ({ counts, reason: counts ? 'worker was lost' : 'handed over' });
const madeOf = (jobs: JobSpec[], cause: string) => {
  const createdAt = new Date().toISOString();
  const id = makeRunId(createdAt, cause);
  return { id, event: pushEvent(), sha: 'a'.repeat(40), message: '', author: '', plan: planOf(...jobs), createdAt };
};

function machineAlone(jobs: JobSpec[]): Subject {
  const made = madeOf(jobs, 'alone');
  const rules = { plan: made.plan, decideIf: () => true, maxLosses: MAX_LOSSES };
  let run = machine.advance(newRecord(made), rules, NOW);
  const move = (next: RunRecord): Promise<boolean> => {
    const moved = next !== run;
    run = next;
    return Promise.resolve(moved);
  };
  return {
    claim: (job, fence, worker) => move(machine.claim(run, job, fence, worker, NOW)),
    beginAttempt: (job, fence) =>
      move(
        machine.beginAttempt(
          run,
          jobs.find(({ id }) => id === job)!,
          fence,
        ),
      ),
    step: async (job, fence) => {
      const isHeld = machine.holds(run, job, fence);
      await move(machine.reportStep(run, job, fence, 0, { state: 'succeeded' }));
      return isHeld;
    },
    end: (job, fence, end) => move(machine.endJob(run, rules, job, fence, outcome(end), NOW)),
    release: (job, fence, counts) => move(machine.releaseJob(run, rules, job, fence, why(counts), NOW)),
    cancel: () => move(machine.requestCancel(run, rules, 'cancelled by a person', NOW)),
    tend: () => move(machine.advance(run, rules, NOW)),
    look: () => Promise.resolve(run),
  };
}

let count = 0;
async function inRedis({ runs: { lifecycle, store } }: IntakeFixture, jobs: JobSpec[]): Promise<Subject> {
  const { record } = await lifecycle.start(madeOf(jobs, `run ${count++}`));
  const { id } = record;
  return {
    claim: async (job, fence, worker) => (await lifecycle.claim(id, job, fence, worker)) !== undefined,
    beginAttempt: async (job, fence) => (await lifecycle.beginAttempt(id, job, fence)) !== undefined,
    step: (job, fence) => lifecycle.reportSteps(id, job, fence, [{ index: 0, change: { state: 'succeeded' } }]),
    end: (job, fence, end) => lifecycle.end(id, job, fence, [], outcome(end)),
    release: (job, fence, counts) => lifecycle.release(id, job, fence, why(counts)),
    cancel: () => lifecycle.cancel(id, 'cancelled by a person'),
    tend: () => lifecycle.tend(id),
    look: async () => (await store.get(id))!,
  };
}

const plans: fc.Arbitrary<JobSpec[]> = fc
  .array(
    fc.record({
      needs: fc.array(fc.record({ at: fc.nat(4), optional: fc.boolean() }), { maxLength: 3 }),
      runsOnStatus: fc.constantFrom('success' as const, 'failure' as const, 'always' as const),
      allowFailure: fc.boolean(),
      retries: fc.integer({ min: 0, max: 2 }),
    }),
    { minLength: 1, maxLength: 5 },
  )
  .map((rows) =>
    rows.map(({ needs, runsOnStatus, allowFailure, retries }, index) => {
      // Only earlier jobs, each once: the planner lets no cycle through.
      const byJob = new Map(needs.filter(({ at }) => at < index).map(({ at, optional }) => [at, optional]));
      return jobSpec(`j${index}`, {
        needs: [...byJob].map(([at, optional]) => need(`j${at}`, optional)),
        runsOnStatus,
        allowFailure,
        retry: { count: retries, delayMs: 0, infrastructure: true },
      });
    }),
  );

/** What somebody does with one job. `old`: with a ticket or a claim that may have been overtaken. */
interface Action {
  kind: 'claim' | 'begin' | 'step' | 'lose' | 'handover' | 'tend' | 'cancel' | End;
  worker: number;
  job: number;
  old: boolean;
}
const kinds = (weight: number, ...names: Action['kind'][]) => ({ weight, arbitrary: fc.constantFrom(...names) });
const scripts: fc.Arbitrary<Action[]> = fc.array(
  fc.record({
    kind: fc.oneof(
      kinds(8, 'claim'),
      kinds(4, 'succeeded', 'failed', 'errored'),
      kinds(4, 'lose'),
      kinds(4, 'handover', 'begin', 'step', 'tend'),
      kinds(1, 'cancel'),
    ),
    worker: fc.nat(1),
    job: fc.nat(4),
    old: fc.integer({ min: 0, max: 4 }).map((one) => one === 4),
  }),
  { maxLength: 80, size: 'max' },
);

/** Two workers, a server, a reconciler and a user do these things, one after the other; after each both must show the same. */
async function compare(subject: Subject, jobs: JobSpec[], script: Action[]): Promise<void> {
  const model = createRunModel(jobs);
  /** Fences of the tickets of each job, the first first. */
  const tickets = new Map(jobs.map(({ id }): [string, number[]] => [id, []]));
  const claims: { job: string; worker: number; fence: number; number: number }[] = [];
  const check = async (): Promise<void> => {
    const run = await subject.look();
    const isReady = (id: string, state: string) => state === 'pending' && run.control[id]?.readyAt !== undefined;
    expect({
      run: run.state,
      jobs: run.jobs.map(({ id, state, attempt }) => ({ id, state, attempt, isReady: isReady(id, state) })),
    }).toEqual(model.seen());
    for (const [id, offered] of tickets) if (offered.length < model.tickets(id)) offered.push(run.control[id]!.fence);
  };
  await check();
  for (const { kind, worker, job, old } of script) {
    const id = `j${job % jobs.length}`;
    // Each worker knows its own claims; the reconciler sees whose the job is.
    const known = claims.filter((one) => one.job === id && (kind === 'lose' || one.worker === worker));
    const claim = old ? known[0] : known.at(-1);
    if (kind === 'cancel') {
      await subject.cancel();
      model.cancel();
    } else if (kind === 'tend') await subject.tend();
    else if (kind === 'claim') {
      const offered = tickets.get(id)!;
      const at = old ? 0 : offered.length - 1;
      const fence = offered[at];
      if (fence === undefined) continue;
      const number = model.claim(id, at + 1);
      expect(await subject.claim(id, fence, `w${worker}`)).toBe(number !== undefined);
      if (number !== undefined) claims.push({ job: id, worker, fence: fence + 1, number });
    } else if (!claim) continue;
    else if (kind === 'begin')
      expect(await subject.beginAttempt(id, claim.fence)).toBe(model.beginAttempt(id, claim.number));
    else if (kind === 'step') await subject.step(id, claim.fence);
    else if (kind === 'lose' || kind === 'handover')
      expect(await subject.release(id, claim.fence, kind === 'lose')).toBe(
        model.release(id, claim.number, kind === 'lose'),
      );
    else expect(await subject.end(id, claim.fence, kind)).toBe(model.end(id, claim.number, kind));
    await check();
  }
}

describe('two workers, a server, a reconciler and a user who cancels, in any order: as the model says', () => {
  it('the machine alone', async () => {
    await fc.assert(
      fc.asyncProperty(plans, scripts, (jobs, script) => compare(machineAlone(jobs), jobs, script)),
      { numRuns: 500 },
    );
  });

  describe('over a real Redis', () => {
    let fixture: IntakeFixture;
    beforeAll(async () => {
      fixture = await startIntake();
    });
    afterAll(() => fixture.close());

    it('the lifecycle', async () => {
      await fc.assert(
        fc.asyncProperty(plans, scripts, async (jobs, script) => compare(await inRedis(fixture, jobs), jobs, script)),
        { numRuns: 20 },
      );
    }, 60_000);
  });
});
