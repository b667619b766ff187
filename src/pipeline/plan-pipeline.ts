import type { PipelineEvent } from '../runs/event.ts';
import type { CloneSpec, JobNeed, JobSpec, Plan } from '../runs/plan.ts';
import { compact } from './compact.ts';
import type { Diagnostic } from './diagnostic.ts';
import { type CellName, expandMatrix, nameCells } from './expand-matrix.ts';
import { ExpressionError } from './expression-ast.ts';
import { interpolateNow } from './expression.ts';
import { parseImageReference } from './image-reference.ts';
import { jobsOf, type KeyedJob } from './jobs-of.ts';
import { matchWhen } from './match-when.ts';
import { isInside } from './path-inside.ts';
import type { Pipeline } from './pipeline.ts';
import { planJob } from './plan-job.ts';
import { planConcurrency } from './plan-values.ts';
import type { MatrixCell, PipelineSource } from './schema.ts';
import type { Path } from './yaml-source.ts';

export interface PlanInput {
  event: PipelineEvent;
  /** Undefined: git cannot tell, every path matches. */
  changedPaths?: readonly string[];
  defaults: { jobTimeoutMs: number };
}

export interface PlanResult {
  /** Absent when there is an error. */
  plan?: Plan;
  diagnostics: Diagnostic[];
}

/** `${{ }}` of what is known while planning. */
export interface Fillers {
  fill: (text: string, path: Path, matrix: MatrixCell) => string;
  /** As fill, and it must be a path in the workspace. */
  fillFolder: (text: string, path: Path, matrix: MatrixCell) => string;
  /** As fill, and it must be the name of an image. */
  fillImage: (text: string, path: Path, matrix: MatrixCell) => string;
}

/** What a job and its steps are planned with; a mistake that shows in filling is reported at its path. */
export interface PlanContext extends Fillers {
  source: PipelineSource;
  event: PipelineEvent;
  changedPaths: readonly string[] | undefined;
  jobTimeoutMs: number;
  /** For what does not run: `app:${{ event.tag }}` is no mistake of a job that is for tags only. */
  unreported: Fillers;
}

/** A cell of a job: what becomes one JobSpec. */
export interface Cell extends KeyedJob, CellName {
  matrix: MatrixCell;
}

/**
 * What runs for one event. Never throws: what only shows when expressions are filled in (an image that is none, a text
 * that grows too long) is a diagnostic. Jobs that a `when` rules out, their own or the pipeline's, are in the plan with
 * the reason, so that a status can be reported for them.
 */
export function planPipeline(pipeline: Pipeline, input: PlanInput): PlanResult {
  const { source } = pipeline;
  const { event, changedPaths } = input;
  const diagnostics: Diagnostic[] = [];
  const context: PlanContext = {
    source,
    event,
    changedPaths,
    jobTimeoutMs: input.defaults.jobTimeoutMs,
    ...createFillers(event, (path, mistake) => diagnostics.push(pipeline.diagnose(path, mistake))),
    unreported: createFillers(event, () => undefined),
  };
  try {
    const plan = makePlan(pipeline, context);
    return diagnostics.length > 0 ? { diagnostics } : { plan, diagnostics };
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    return { diagnostics: [pipeline.diagnose(['when'], { code: error.code, message: error.message })] };
  }
}

function createFillers(
  event: PipelineEvent,
  report: (path: Path, mistake: { code: string; message: string }) => void,
): Fillers {
  const fill: Fillers['fill'] = (text, path, matrix) => {
    try {
      return interpolateNow(text, { event, matrix });
    } catch (error) {
      if (!(error instanceof ExpressionError)) throw error;
      report(path, { code: error.code, message: error.message });
      return '';
    }
  };
  return {
    fill,
    fillFolder: (text, path, matrix) => {
      const folder = fill(text, path, matrix);
      if (!isInside(folder)) report(path, { code: 'path-outside', message: `\`${folder}\` is not in the workspace.` });
      return folder;
    },
    fillImage: (text, path, matrix) => {
      const image = fill(text, path, matrix);
      if (!parseImageReference(image))
        report(path, { code: 'image-invalid', message: `\`${image}\` is not the name of an image.` });
      return image;
    },
  };
}

function makePlan({ name, file, source }: Pipeline, given: PlanContext): Plan {
  const { event, changedPaths } = given;
  const verdict = matchWhen(source.when, { event, changedPaths, matrix: {} });
  const context = verdict.runs ? given : { ...given, ...given.unreported };
  const cells = cellsOf(source);
  const ids = new Map<string, string[]>();
  for (const { key, id } of cells) ids.set(key, [...(ids.get(key) ?? []), id]);
  const idsOf = (key: string) => ids.get(key) ?? [];
  const jobs = needWhatRuns(cells.map((cell) => planJob(cell, idsOf, context)));
  return {
    pipeline: name,
    file,
    ...(verdict.runs ? {} : { skipped: verdict.reason }),
    ...compact({ concurrency: planConcurrency(source.concurrency, ['concurrency'], {}, context) }),
    clone: planClone(source.clone),
    jobs: verdict.runs ? jobs : jobs.map((job) => ({ ...job, skip: verdict.reason })),
  };
}

/** A cell that its `when` rules out is as if it were not there: who needs the job needs the other cells, if there are any. */
function needWhatRuns(jobs: JobSpec[]): JobSpec[] {
  const running = new Set(jobs.filter(({ skip }) => skip === undefined).map(({ key }) => key));
  const skipped = new Set(jobs.filter(({ skip }) => skip !== undefined).map(({ id }) => id));
  const counts = ({ job, key }: JobNeed): boolean => !skipped.has(job) || !running.has(key);
  return jobs.map((job) => ({ ...job, needs: job.needs.filter(counts) }));
}

/** Jobs without a matrix have their key as id; cells get names that clash with none. */
function cellsOf(source: PipelineSource): Cell[] {
  const jobs = jobsOf(source);
  const taken = new Set(jobs.map(({ key }) => key));
  return jobs.flatMap((job) => {
    const cells = expandMatrix(job.job.matrix);
    if (!Array.isArray(cells)) return [];
    const names = nameCells(job.key, cells, taken);
    return cells.map((matrix, index) => ({ ...job, ...(names[index] ?? { id: job.key, name: job.key }), matrix }));
  });
}

function planClone(clone: PipelineSource['clone']): CloneSpec {
  return {
    skip: clone?.skip ?? false,
    depth: clone?.depth ?? 0,
    submodules: clone?.submodules ?? false,
    lfs: clone?.lfs ?? false,
  };
}
