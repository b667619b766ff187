import type { PipelineEvent } from '../runs/event.ts';
import type { CloneSpec, JobNeed, JobSpec, Plan } from '../runs/plan.ts';
import { compact } from './compact.ts';
import { type Diagnostic, MAX_DIAGNOSTICS } from './diagnostic.ts';
import { type CellName, expandMatrix, nameCells } from './expand-matrix.ts';
import { ExpressionError } from './expression-ast.ts';
import { interpolateNow } from './expression.ts';
import { parseImageReference } from './image-reference.ts';
import { jobsOf, type KeyedJob } from './jobs-of.ts';
import { type ConditionSource, matchWhen, type Occasion, toList } from './match-when.ts';
import { isInside } from './path-inside.ts';
import type { Pipeline, Report } from './pipeline.ts';
import { planJob } from './plan-job.ts';
import { planConcurrency } from './plan-values.ts';
import type { MatrixCell, PipelineSource } from './schema.ts';
import { hasExpression, parseCondition } from './split-template.ts';
import type { Path } from './yaml-source.ts';

/** Characters that `${{ }}` may add to a plan: a long commit message, in every cell. */
const MAX_FILLED = 16 * 1024 * 1024;
/** Patterns of `paths` times characters of changed paths; more would keep the server from everything else. */
const MAX_COMPARED = 20_000_000;

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
  /** An `if` that stays one. It may be joined of many, which together are more than can be read. */
  keepIf: (text: string | undefined, path: Path) => string | undefined;
  /** As fill, and it must be the name of an image. */
  fillImage: (text: string, path: Path, matrix: MatrixCell) => string;
}

/** What a job and its steps are planned with; a mistake that shows in filling is reported at its path. */
export interface PlanContext extends Fillers, Occasion {
  source: PipelineSource;
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
  const { event } = input;
  const diagnostics: Diagnostic[] = [];
  const report: Report = (path, mistake) => {
    diagnostics.push(pipeline.diagnose(path, mistake));
    if (diagnostics.length >= MAX_DIAGNOSTICS) throw new Enough();
  };
  const context: PlanContext = {
    source,
    event,
    changedPaths: input.changedPaths && comparable(input.changedPaths, source),
    mismatches: new Map(),
    jobTimeoutMs: input.defaults.jobTimeoutMs,
    ...createFillers(event, report),
    unreported: createFillers(event, () => undefined),
  };
  try {
    const plan = makePlan(pipeline, context);
    return diagnostics.length > 0 ? { diagnostics } : { plan, diagnostics };
  } catch (error) {
    if (error instanceof Enough) return { diagnostics };
    if (!(error instanceof ExpressionError)) throw error;
    return { diagnostics: [pipeline.diagnose(['when'], { code: error.code, message: error.message })] };
  }
}

/** Ends the planning: every cell of a matrix would make the same mistake. */
class Enough extends Error {}

/** The changed paths, or undefined where it would take too long to look at them: then every file counts as changed. */
function comparable(changedPaths: readonly string[], source: PipelineSource): readonly string[] | undefined {
  const whens = [source.when, ...jobsOf(source).flatMap(({ job }) => [job.when, ...job.steps.map(({ when }) => when)])];
  const conditions = new Set(whens.flatMap<ConditionSource>((when) => toList(when)));
  const patterns = [...conditions].reduce((sum, { paths }) => sum + toList(paths).length, 0);
  const characters = changedPaths.reduce((sum, path) => sum + path.length, 0);
  return patterns * characters > MAX_COMPARED ? undefined : changedPaths;
}

function createFillers(event: PipelineEvent, report: Report): Fillers {
  let filled = 0;
  const fill: Fillers['fill'] = (text, path, matrix) => {
    if (!hasExpression(text)) return text;
    if (filled > MAX_FILLED) return '';
    try {
      const result = interpolateNow(text, { event, matrix });
      filled += result.length;
      if (filled > MAX_FILLED) throw new ExpressionError('The results of all expressions have more than 16 MB.', 0);
      return result;
    } catch (error) {
      if (!(error instanceof ExpressionError)) throw error;
      report(path, { code: error.code, message: error.message });
      return '';
    }
  };
  return {
    fill,
    keepIf: (text, path) => {
      try {
        if (text !== undefined) parseCondition(text);
      } catch (error) {
        if (!(error instanceof ExpressionError)) throw error;
        const message = `Its conditions are joined to one that is too large: ${error.message}`;
        report([...path, 'when'], { code: error.code, message, hint: 'Write fewer of them, or decide in the script.' });
      }
      return text;
    },
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
  const verdict = matchWhen(source.when, given, {});
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
