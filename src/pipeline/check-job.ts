import {
  checkConcurrency,
  checkEach,
  checkEnv,
  checkImage,
  checkTimes,
  checkWhen,
  placeIn,
  refuseTemplate,
} from './check-values.ts';
import { checkTemplate, type Scope } from './check-expression.ts';
import { needsOf } from './check-needs.ts';
import { checkScript } from './check-script.ts';
import { checkSteps } from './check-steps.ts';
import { expandMatrix, MAX_CELLS, matrixNames } from './expand-matrix.ts';
import type { Report } from './pipeline.ts';
import type { JobSource, PipelineSource } from './schema.ts';
import { stepNames } from './step-names.ts';
import type { Path } from './yaml-source.ts';

export function checkJob(job: JobSource, path: Path, source: PipelineSource, report: Report): void {
  checkMatrix(job, path, report);
  const scope: Scope = {
    jobs: source.jobs ?? {},
    matrix: job.matrix ? matrixNames(job.matrix) : new Set(),
    needs: needsOf(job.needs).map(({ name }) => name),
    steps: stepNames(job.steps),
  };
  const planned = (what: string) => placeIn(scope, 'planned', what);
  checkImage(job.image, [...path, 'image'], planned('the image of a job'), report);
  checkWhen(job.when, [...path, 'when'], placeIn(scope, 'jobIf', 'the `when` of a job'), report);
  checkConcurrency(job.concurrency, [...path, 'concurrency'], planned('`concurrency`'), report);
  checkEach(job['runs-on'], [...path, 'runs-on'], (label, at) =>
    checkTemplate(label, at, planned('`runs-on`'), report),
  );
  // `main` of top-level steps has no env of its own: its path would be the pipeline's.
  checkEnv(job.env, [...path, 'env'], placeIn(scope, 'jobEnv', 'the `env` of a job'), report);
  for (const [name, value] of Object.entries(job.outputs ?? {}))
    checkTemplate(value, [...path, 'outputs', name], placeIn(scope, 'step', '`outputs`'), report);
  checkTimes(job, path, report);
  checkServices(job, path, scope, report);
  checkSteps(job, path, scope, report);
}

function checkMatrix({ matrix }: JobSource, path: Path, report: Report): void {
  if (!matrix) return;
  const cells = expandMatrix(matrix);
  const at = [...path, 'matrix'];
  if (!Array.isArray(cells))
    report(at, {
      code: 'matrix-too-large',
      key: true,
      message: `The matrix has ${cells.tooMany} results; ${MAX_CELLS} is the most.`,
    });
  else if (cells.length === 0)
    report(at, { code: 'matrix-empty', key: true, message: 'The matrix has no result: nothing would run.' });
  const names = matrixNames(matrix);
  for (const [index, entry] of (matrix.exclude ?? []).entries())
    for (const name of Object.keys(entry))
      if (!names.has(name))
        report([...at, 'exclude', index, name], {
          code: 'matrix-unknown',
          key: true,
          message: `The matrix has no \`${name}\`.`,
        });
  for (const [name, values] of Object.entries(matrix))
    for (const [index, value] of values.entries())
      // `include` and `exclude` are lists of maps.
      for (const [key, one] of typeof value === 'object' ? Object.entries(value) : [['', value] as const])
        refuseTemplate(one, [...at, name, index, ...(key === '' ? [] : [key])], 'A value of a matrix', report);
}

function checkServices({ services }: JobSource, path: Path, scope: Scope, report: Report): void {
  for (const [name, service] of Object.entries(services ?? {})) {
    const at = [...path, 'services', name];
    if (service.image === undefined && service.run === undefined)
      report(at, {
        code: 'key-missing',
        key: true,
        message: `The service \`${name}\` needs \`image\`, or \`run\`, or both.`,
      });
    checkImage(service.image, [...at, 'image'], placeIn(scope, 'planned', 'the image of a service'), report);
    checkEnv(service.env, [...at, 'env'], placeIn(scope, 'jobEnv', 'the `env` of a service'), report);
    checkTimes(service.ready ?? {}, [...at, 'ready'], report);
    checkScript(service.run, [...at, 'run'], report);
    const { ready } = service;
    if (ready && (ready.port === undefined) === (ready.command === undefined))
      report([...at, 'ready'], {
        code: 'ready-invalid',
        key: true,
        message: '`ready` takes either `port` or `command`.',
      });
    if (ready?.command !== undefined) checkScript(ready.command, [...at, 'ready', 'command'], report);
  }
}
