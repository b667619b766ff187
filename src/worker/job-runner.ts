/**
 * One job from claim to end: workspace, sandbox, services, steps, outputs, clean-up. It is handed its ports and its
 * executor and knows neither Redis nor HTTP: `impgem worker` and `impgem run` differ only in what they hand in.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { ExecutorLostError, LostJobError } from '../errors.ts';
import type { Executor } from '../executors/executor.ts';
import type { Limits } from '../runs/plan.ts';
import { type BegunJob, beginJob } from './begin-job.ts';
import { executeJob } from './execute-job.ts';
import type { Assignment, JobPorts, JobResult } from './ports.ts';
import { raceLoss, type Loss } from './race-loss.ts';

export interface JobRunnerDeps {
  executor: Executor;
  ports: JobPorts;
  /** Where job folders are made; on the worker's own disk. */
  folder: string;
  defaults: JobDefaults;
}

export interface JobDefaults {
  image: string;
  /** For a job whose time limit is 0. */
  jobTimeoutMs: number;
  /** ms that steps which always run have after their job was ended; default a minute. */
  lateMs?: number;
  /** Bytes of output of one step. */
  logLimit: number;
  /** Bytes that a job may have on the disk; 0: any. */
  diskLimit: number;
  limits: Limits;
  /** Whether steps of a repository may ask for what the operator grants to trusted ones only (`docker: true`). */
  trusts: (repository: string) => boolean;
}

export interface JobControl {
  /** Aborted with a reason (a string: `cancelled by a user`, `superseded`): everything of the job is ended. */
  cancel: AbortSignal;
  /** The worker is told to stop: what runs is let go, for the next worker to adopt. */
  detach: AbortSignal;
}

export interface JobRunner {
  /**
   * Runs the job, or carries on one whose worker died. Gives its outcome; a failing job is a result.
   * Throws ImpGemError `adoption-failed`, before anything else is done, when the job was begun and nothing of it is alive:
   * the caller then begins a new attempt. Throws ExecutorLostError when what runs its tasks is away, LostJobError when another worker has the job now.
   */
  run(assignment: Assignment, control: JobControl): Promise<JobResult | 'detached'>;
  /** Settles when what is cleaned up in the background is gone; rejects with the first failure to remove something. */
  idle(): Promise<void>;
}

/** An engine may take long to make what was asked for; the worker that adopts the job, or clears up after it, finds that. */
const LEAVE_MS = 500;

/** Lets go of the job, for the worker is told to stop. */
async function leave(begun: BegunJob): Promise<void> {
  await Promise.race([begun.letGo(), delay(LEAVE_MS, undefined, { ref: false })]);
}

export function createJobRunner(deps: JobRunnerDeps): JobRunner {
  const removals = new Set<Promise<void>>();
  let failure: { error: unknown } | undefined;
  const removeInBackground = (work: Promise<void>): void => {
    const removal = work
      .catch((error: unknown) => void (failure ??= { error }))
      .finally(() => removals.delete(removal));
    removals.add(removal);
  };

  const remove = (begun: BegunJob): Promise<void> =>
    begun.dispose().then(() => deps.executor.removeFolder(begun.folder.path));

  /** What the executor cannot remove now, it finds later by itself; without its folder nobody adopts the job. */
  const clearAway = async (begun: BegunJob): Promise<void> => {
    await begun.dispose().catch(() => undefined);
    await deps.executor.removeFolder(begun.folder.path);
  };

  const runJob = async (assignment: Assignment, control: JobControl, loss: Loss): Promise<JobResult | 'detached'> => {
    const begun = await beginJob({ ...deps, ports: loss.ports, assignment }).catch((error: unknown) => {
      // While it asked how far the logs had come: what is to be adopted is untouched.
      if (error instanceof LostJobError && control.detach.aborted) return undefined;
      throw error;
    });
    if (!begun) return 'detached';
    try {
      const result = await Promise.race([executeJob(begun, control.cancel), loss.lost]);
      removeInBackground(remove(begun));
      return result;
    } catch (error) {
      loss.cutOff();
      if (!(error instanceof LostJobError)) throw error;
      // What nobody can adopt must not run on beside the next attempt.
      if (error instanceof ExecutorLostError && error.gone) await clearAway(begun);
      else if (deps.executor.adopts) await (control.detach.aborted ? leave(begun) : begun.letGo());
      else removeInBackground(remove(begun));
      if (control.detach.aborted) return 'detached';
      throw error;
    }
  };

  return {
    run: async (assignment, control) => {
      const loss = raceLoss(`job ${assignment.spec.id} of run ${assignment.run.id}`, deps.ports, control);
      try {
        return await runJob(assignment, control, loss);
      } finally {
        loss.release();
      }
    },
    idle: async () => {
      while (removals.size > 0) await Promise.all(removals);
      if (failure) throw failure.error;
    },
  };
}
