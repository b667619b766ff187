/** One ticket from claim to end: adopt what still runs, or start over, and record how it ended. */
import { ExecutorLostError, ImpGemError, LostJobError, messageOf } from '../errors.ts';
import type { JobRunner } from './job-runner.ts';
import type { HeldJob, JobResult } from './ports.ts';

export interface WorkDeps {
  /** Reports to `held.report`. */
  runner: Pick<JobRunner, 'run'>;
  /** Aborts when the worker is told to stop: jobs are handed over, not ended. */
  detach: AbortSignal;
  /** What runs tasks is away: nothing more is to be claimed until it is back. The job is given back after this. */
  onExecutorLost(): Promise<void>;
  log: { info(fields: object, message: string): void; error(fields: object, message: string): void };
}

/** Never throws: whatever goes wrong becomes the job's end, or is another worker's business. */
export async function work(held: HeldJob, deps: WorkDeps): Promise<void> {
  const { run, spec, attempt } = held.assignment;
  const fields = { run: run.id, job: spec.id, attempt };
  try {
    const outcome = await outcomeOf(held, deps, fields);
    if (outcome === 'detached') await held.handBack();
    else await held.end(outcome);
    deps.log.info({ ...fields, state: outcome === 'detached' ? 'handed over' : outcome.state }, 'job ended');
  } catch (error) {
    const failed = (failure: unknown): void =>
      deps.log.error(fields, `its end could not be recorded: ${messageOf(failure)}`);
    if (error instanceof ExecutorLostError) {
      deps.log.info(fields, `given back: ${error.message}`);
      await deps.onExecutorLost().catch(failed);
      await held.handBack(error.message).catch(failed);
    } else if (error instanceof LostJobError) deps.log.info(fields, `let go: ${error.message}`);
    else failed(error);
  } finally {
    await held.letGo();
  }
}

/** Throws LostJobError; any other failure is the job's end. */
async function outcomeOf(
  held: HeldJob,
  { runner, detach, log }: WorkDeps,
  fields: { attempt: number },
): Promise<JobResult | 'detached'> {
  const control = { cancel: held.cancel, detach };
  try {
    try {
      return await runner.run(held.assignment, control);
    } catch (error) {
      if (!(error instanceof ImpGemError) || error.code !== 'adoption-failed') throw error;
      const note = `${held.lossReason ?? 'the worker before was lost'}; nothing of it is left, so the job starts over`;
      log.info(fields, note);
      const again = await held.beginAttempt(note);
      fields.attempt = again.attempt;
      return await runner.run(again, control);
    }
  } catch (error) {
    if (error instanceof LostJobError) throw error;
    log.error({ ...fields, code: error instanceof ImpGemError ? error.code : 'unexpected' }, messageOf(error));
    const reason = error instanceof ImpGemError ? error.message : `unexpected error: ${messageOf(error)}`;
    return { state: 'errored', reason, outputs: {}, infrastructure: true };
  }
}
