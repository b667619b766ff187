/** How large a plan will be, told before anything else is looked at: a script that 40 steps share by an alias is in it 40 times a cell. */
import { expandMatrix } from './expand-matrix.ts';
import { needsOf } from './check-needs.ts';
import { jobsOf } from './jobs-of.ts';
import type { JobSource, PipelineSource } from './schema.ts';
import { countExpressions } from './split-template.ts';

/** Of the JSON of each value: quotes, commas. */
const PER_VALUE = 8;
/** What a step has in the plan and in the record of its run besides its own text. */
const PER_STEP = 500;
/** Every cell of a job names every cell of the jobs that it needs. */
const PER_NEED = 100;
/** Each is evaluated for every cell: they cost time more than room. */
const PER_EXPRESSION = 100;

/** Characters of JSON, about, in all jobs together. */
export function weighJobs(source: PipelineSource): number {
  const weigh = createScale();
  const shared = weigh(source.env);
  const defaults = weigh(source.defaults);
  const jobs = jobsOf(source);
  const cells = new Map(jobs.map(({ key, job }) => [key, countCells(job)]));
  return jobs.reduce((sum, { key, job }) => {
    const needed = needsOf(job.needs).reduce((total, { name }) => total + (cells.get(name) ?? 0), 0);
    const own = weigh(job) + shared + needed * PER_NEED + job.steps.length * (PER_STEP + defaults);
    return sum + (cells.get(key) ?? 0) * own;
  }, 0);
}

/** A matrix that makes none, or too many, is refused elsewhere; until then it is looked at as one. */
function countCells({ matrix }: JobSource): number {
  const cells = expandMatrix(matrix);
  return Array.isArray(cells) ? Math.max(1, cells.length) : 1;
}

/** Each text is measured once: an alias repeats a long one as often as it likes. */
function createScale(): (value: unknown) => number {
  const known = new Map<string, number>();
  const weighText = (text: string): number => {
    const weight = known.get(text) ?? JSON.stringify(text).length + countExpressions(text) * PER_EXPRESSION;
    known.set(text, weight);
    return weight;
  };
  return function weigh(value): number {
    if (typeof value === 'string') return weighText(value) + PER_VALUE;
    if (typeof value !== 'object' || value === null) return PER_VALUE;
    return Object.entries(value).reduce((sum, [key, child]) => sum + key.length + weigh(child), PER_VALUE);
  };
}
