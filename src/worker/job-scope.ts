/** What the parts of one running job share. */
import type { AdoptedJob, JobSandbox } from '../executors/executor.ts';
import type { JobSpec, Limits } from '../runs/plan.ts';
import type { LogKey } from '../runs/run.ts';
import type { DiskWatch } from './disk-watch.ts';
import type { JobFolder } from './job-folder.ts';
import type { Assignment, JobPorts } from './ports.ts';
import type { ReportQueue } from './report-queue.ts';
import type { Resolver } from './resolver.ts';
import { type Behind, counts, stepsBehind, type StepResult } from './step-rules.ts';

export interface JobScope {
  assignment: Assignment;
  spec: JobSpec;
  folder: JobFolder;
  ports: JobPorts;
  sandbox: JobSandbox;
  /** Set when the job was found alive: tasks that run already are followed, not started. */
  adopted?: AdoptedJob;
  /** Aborted with a Stop: nothing more is started but what cleans up. */
  stop: AbortSignal;
  /** Aborted with a Stop: that ends as well. */
  lateStop: AbortSignal;
  /** Of the job and its steps, by name. */
  secrets: ReadonlyMap<string, string>;
  /** Their values: what every log hides. */
  hidden: string[];
  /** Resolved `env` of the job. */
  env: Record<string, string>;
  resolver: Resolver;
  limits: Limits;
  logLimit: number;
  disk: DiskWatch;
  reports: ReportQueue;
  /** Places of steps that had their turn. */
  begun: Set<number>;
  /** By place; absent while a step has not ended. */
  results: (StepResult | undefined)[];
}

export function logKey(assignment: Assignment, part: string): LogKey {
  return { run: assignment.run.id, job: assignment.spec.id, attempt: assignment.attempt, part };
}

export interface StepView extends Behind {
  /** Variables that steps behind this one handed on; the later wins. */
  env: Map<string, string>;
  /** Folders for the front of PATH; the later one's first. */
  path: string[];
}

/** What a step sees of those that came before it. */
export function viewOf(job: JobScope, index: number): StepView {
  const view: StepView = { env: new Map(), path: [] };
  for (const at of stepsBehind(job.spec, index)) {
    const result = job.results[at];
    if (!result) continue;
    for (const [name, value] of result.env) view.env.set(name, value);
    view.path = [...new Set([...result.path, ...view.path])];
    if (counts(result)) view.failed ??= job.spec.steps[at]?.name ?? String(at);
  }
  // In a graph only: a chain goes on.
  const missing = job.spec.steps[index]?.needs.find(
    (need) =>
      !need.optional && job.results[job.spec.steps.findIndex((step) => step.name === need.step)]?.state === 'skipped',
  );
  if (missing) view.missing = missing.step;
  return view;
}
