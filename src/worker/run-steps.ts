/** The steps of a job in their order: each waits for those it needs, and what has no order between it runs at the same time. */
import type { JobScope } from './job-scope.ts';
import { runStep } from './run-step.ts';
import { directNeeds, type StepResult } from './step-rules.ts';
import { stepAt } from './step-task.ts';
import type { Stop } from './stop.ts';

interface Turn {
  /** Settles when the steps that need it may go on: it ended, or runs in the background. */
  passed: Promise<unknown>;
  ended: Promise<StepResult>;
}

/** Settles when every step has ended; background steps are stopped once the others have. Throws LostJobError only. */
export async function runSteps(job: JobScope): Promise<void> {
  const background = new AbortController();
  const turns = new Map<number, Turn>();
  // A step may need one that stands later in the file, so turns are made on demand; the planner refuses cycles.
  const turnOf = (index: number): Turn => {
    const known = turns.get(index);
    if (known) return known;
    const turn = takeTurn(job, index, directNeeds(job.spec, index).map(turnOf), background.signal);
    turns.set(index, turn);
    return turn;
  };
  const all = job.spec.steps.map((step, index) => ({ step, ...turnOf(index) }));
  // Not in a `finally`: when the job was lost, what runs belongs to its new owner.
  await Promise.all(all.filter(({ step }) => !step.background).map(({ ended }) => ended));
  background.abort({ state: 'succeeded', reason: 'stopped: the other steps had ended' } satisfies Stop);
  await Promise.all(all.map(({ ended }) => ended));
}

function takeTurn(job: JobScope, index: number, needs: Turn[], backgroundStop: AbortSignal): Turn {
  const step = stepAt(job.spec, index);
  let start: () => void = () => undefined;
  const started = new Promise<void>((resolve) => (start = resolve));
  const stop = step.background ? AbortSignal.any([job.stop, backgroundStop]) : job.stop;
  const ended = Promise.all(needs.map((need) => need.passed)).then(() => runStep(job, index, stop, start));
  // Its error is seen by whoever waits for all steps; here it only must not count as unhandled before that.
  ended.catch(() => undefined);
  return { passed: step.background ? Promise.race([started, ended]) : ended, ended };
}
