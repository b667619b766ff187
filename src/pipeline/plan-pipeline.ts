import type { PipelineEvent } from '../runs/event.ts';
import type { CloneSpec, JobSpec, Plan } from '../runs/plan.ts';
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

/** What a job and its steps are planned with. */
export interface PlanContext {
  source: PipelineSource;
  event: PipelineEvent;
  changedPaths: readonly string[] | undefined;
  jobTimeoutMs: number;
  /** `${{ }}` of what is known while planning; a mistake is reported at `path`. */
  fill: (text: string, path: Path, matrix: MatrixCell) => string;
  /** As fill, and it must be a path in the workspace. */
  fillFolder: (text: string, path: Path, matrix: MatrixCell) => string;
  /** As fill, and it must be the name of an image. */
  fillImage: (text: string, path: Path, matrix: MatrixCell) => string;
}

/** A cell of a job: what becomes one JobSpec. */
export interface Cell extends KeyedJob, CellName {
  matrix: MatrixCell;
}

/**
 * What runs for one event. Never throws: what only shows when expressions are filled in (an image that is none, a text
 * that grows too long) is a diagnostic. Jobs that `when` rules out are in the plan with the reason, so that a status can
 * be reported for them; only where the pipeline is for another kind of event or ref is the plan `skipped` as a whole.
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
    fill: (text, path, matrix) => {
      try {
        return interpolateNow(text, { event, matrix });
      } catch (error) {
        if (!(error instanceof ExpressionError)) throw error;
        diagnostics.push(pipeline.diagnose(path, { code: error.code, message: error.message }));
        return '';
      }
    },
    fillFolder: (text, path, matrix) => {
      const folder = context.fill(text, path, matrix);
      if (!isInside(folder))
        diagnostics.push(
          pipeline.diagnose(path, { code: 'path-outside', message: `\`${folder}\` is not in the workspace.` }),
        );
      return folder;
    },
    fillImage: (text, path, matrix) => {
      const image = context.fill(text, path, matrix);
      if (!parseImageReference(image))
        diagnostics.push(
          pipeline.diagnose(path, { code: 'image-invalid', message: `\`${image}\` is not the name of an image.` }),
        );
      return image;
    },
  };
  try {
    const plan = makePlan(pipeline, context);
    return diagnostics.length > 0 ? { diagnostics } : { plan, diagnostics };
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    return { diagnostics: [pipeline.diagnose(['when'], { code: error.code, message: error.message })] };
  }
}

function makePlan({ name, file, source }: Pipeline, context: PlanContext): Plan {
  const { event, changedPaths } = context;
  const base = {
    pipeline: name,
    file,
    ...compact({ concurrency: planConcurrency(source.concurrency, ['concurrency'], {}, context) }),
    clone: planClone(source.clone),
  };
  const verdict = matchWhen(source.when, { event, changedPaths, matrix: {} });
  if (!verdict.runs && !verdict.content) return { ...base, skipped: verdict.reason, jobs: [] };

  const cells = cellsOf(source);
  const ids = new Map<string, string[]>();
  for (const { key, id } of cells) ids.set(key, [...(ids.get(key) ?? []), id]);
  const idsOf = (key: string) => ids.get(key) ?? [];
  const jobs = cells.map((cell) => planJob(cell, idsOf, context));
  if (verdict.runs) return { ...base, jobs };
  return { ...base, jobs: jobs.map((job): JobSpec => ({ ...job, skip: job.skip ?? verdict.reason })) };
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
