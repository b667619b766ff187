import type { Job, Run, Step } from '../runs/run.ts';

/** A run as the HTTP contract shows it: field by field, so that nothing internal slips out with a new field. */
export function presentRun(run: Run): Run {
  return forJson({
    id: run.id,
    number: run.number,
    repository: run.repository,
    event: run.event,
    ref: run.ref,
    branch: run.branch,
    tag: run.tag,
    sha: run.sha,
    message: run.message,
    author: run.author,
    pipeline: run.pipeline,
    state: run.state,
    reason: run.reason,
    delivery: run.delivery,
    foundBy: run.foundBy,
    rerunOf: run.rerunOf,
    createdAt: run.createdAt,
    startedAt: run.startedAt,
    endedAt: run.endedAt,
    jobs: run.jobs.map(presentJob),
  });
}

/** A job as the HTTP contract shows it. */
export function presentJob(job: Job): Job {
  return forJson({
    id: job.id,
    name: job.name,
    needs: job.needs,
    state: job.state,
    reason: job.reason,
    waitingFor: job.waitingFor,
    attempt: job.attempt,
    worker: job.worker,
    startedAt: job.startedAt,
    endedAt: job.endedAt,
    allowFailure: job.allowFailure,
    outputs: job.outputs,
    steps: job.steps.map(presentStep),
  });
}

function presentStep(step: Step): Step {
  return forJson({
    name: step.name,
    state: step.state,
    reason: step.reason,
    exitCode: step.exitCode,
    startedAt: step.startedAt,
    endedAt: step.endedAt,
    summary: step.summary,
    image: step.image,
  });
}

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> };

/** To JSON, what is undefined is absent; to our types it is not. Nothing is copied: a list has a thousand of these. */
function forJson<T extends object>(value: T): Defined<T> {
  return value as Defined<T>;
}
