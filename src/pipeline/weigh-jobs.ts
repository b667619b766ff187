/** How large a plan will be, told before it is made: a script that 40 steps share by an alias is in it 40 times a cell. */
import { expandMatrix } from './expand-matrix.ts';
import { jobsOf } from './jobs-of.ts';
import type { PipelineSource } from './schema.ts';

/** Of the JSON of each value: quotes, commas. */
const PER_VALUE = 8;
/** What a step has in the plan and in the record of its run besides its own text. */
const PER_STEP = 500;

/** Characters of JSON, about, in all jobs together. */
export function weighJobs(source: PipelineSource): number {
  const shared = weigh(source.env);
  const defaults = weigh(source.defaults);
  return jobsOf(source).reduce((sum, { job }) => {
    const cells = expandMatrix(job.matrix);
    const count = Array.isArray(cells) ? cells.length : 0;
    return sum + count * (weigh(job) + shared + job.steps.length * (PER_STEP + defaults));
  }, 0);
}

function weigh(value: unknown): number {
  if (typeof value === 'string') return value.length + PER_VALUE;
  if (typeof value !== 'object' || value === null) return PER_VALUE;
  return Object.entries(value).reduce((sum, [key, child]) => sum + key.length + weigh(child), PER_VALUE);
}
