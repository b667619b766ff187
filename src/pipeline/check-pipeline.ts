/** What must hold between keys, which a schema cannot say. Every mistake is reported, none throws. */
import { checkTemplate, type Scope } from './check-expression.ts';
import { checkJob } from './check-job.ts';
import { checkNeeds } from './check-needs.ts';
import {
  checkConcurrency,
  checkEach,
  checkEnv,
  checkImage,
  checkInside,
  checkLimits,
  checkTimes,
  checkWhen,
  placeIn,
} from './check-values.ts';
import { expandMatrix } from './expand-matrix.ts';
import { jobsOf } from './jobs-of.ts';
import type { Report } from './pipeline.ts';
import type { PipelineSource } from './schema.ts';
import { weighJobs } from './weigh-jobs.ts';

/** Jobs of one plan, all matrix cells together. */
const MAX_JOBS = 1000;
/** Characters of a plan, as weighJobs counts them. It is one value in Redis, and a server that writes it does nothing else meanwhile. */
const MAX_PLAN = 16 * 1024 * 1024;

export function checkPipeline(source: PipelineSource, report: Report): void {
  if ((source.jobs === undefined) === (source.steps === undefined))
    report(source.jobs ? ['steps'] : [], {
      code: 'jobs-or-steps',
      key: true,
      message: source.jobs
        ? 'A pipeline has `jobs` or `steps`, not both.'
        : 'A pipeline needs `jobs`, or `steps` when it is a single job.',
    });
  const weight = weighJobs(source);
  if (weight > MAX_PLAN) {
    report(['jobs'], {
      code: 'plan-too-large',
      key: true,
      message: `The jobs, every cell of a matrix by itself, have ${Math.ceil(weight / 1024 ** 2)} MB; 16 MB is the most.`,
      hint: 'Put long scripts into files of the repository.',
    });
    // All that would be said of it is of no use before it is smaller, and takes as long as it is large.
    return;
  }
  const scope: Scope = { jobs: source.jobs ?? {}, matrix: 'unknown', needs: 'unknown', steps: [] };
  const inPipeline = (what: string) => placeIn(scope, 'pipeline', what);
  checkImage(source.image, ['image'], placeIn(scope, 'planned', '`image`'), report);
  checkEnv(source.env, ['env'], placeIn(scope, 'jobEnv', 'the `env` of a pipeline'), report);
  checkWhen(source.when, ['when'], inPipeline('the `when` of a pipeline'), report);
  checkConcurrency(source.concurrency, ['concurrency'], inPipeline('the `concurrency` of a pipeline'), report);
  checkTimes(source.defaults?.job ?? {}, ['defaults', 'job'], report);
  checkTimes(source.defaults?.step ?? {}, ['defaults', 'step'], report);
  checkLimits(source.defaults?.step?.limits, ['defaults', 'step', 'limits'], report);
  const planned = placeIn(scope, 'planned', '`defaults`');
  checkEach(source.defaults?.job?.['runs-on'], ['defaults', 'job', 'runs-on'], (label, at) =>
    checkTemplate(label, at, planned, report),
  );
  const folder = source.defaults?.step?.['working-directory'];
  if (folder !== undefined) {
    const at = ['defaults', 'step', 'working-directory'];
    checkInside(folder, at, false, report);
    checkTemplate(folder, at, planned, report);
  }
  const jobs = jobsOf(source);
  checkNeeds(
    new Map(jobs.map(({ key, job, path }) => [key, { needs: job.needs, path: [...path, 'needs'] }])),
    'job',
    report,
  );
  let total = 0;
  for (const { job, path } of jobs) {
    checkJob(job, path, source, report);
    const cells = expandMatrix(job.matrix);
    total += Array.isArray(cells) ? cells.length : 0;
  }
  if (total > MAX_JOBS)
    report(['jobs'], {
      code: 'too-many-jobs',
      key: true,
      message: `The pipeline makes ${total} jobs; ${MAX_JOBS} is the most.`,
    });
}
