import { checkTemplate, type Scope } from './check-expression.ts';
import { checkScript } from './check-script.ts';
import { checkNeeds } from './check-needs.ts';
import {
  checkAllGlobs,
  checkEach,
  checkEnv,
  checkImage,
  checkInside,
  checkLimits,
  checkTimes,
  checkWhen,
  placeIn,
  refuseTemplate,
} from './check-values.ts';
import { durationMs } from './duration-ms.ts';
import type { Report } from './pipeline.ts';
import type { JobSource } from './schema.ts';
import type { StepSource } from './schema-step.ts';
import { toText } from './script-text.ts';
import type { Path } from './yaml-source.ts';

/** A hundred years: dates that every program can write. */
const MAX_EXPIRE_DAYS = 36_500;
const MAX_EXPIRE_MS = MAX_EXPIRE_DAYS * 86_400_000;

export function checkSteps(job: JobSource, path: Path, scope: Scope, report: Report): void {
  const steps = [...path, 'steps'];
  const seen = new Map<string, number>();
  for (const [index, name] of scope.steps.entries()) {
    const first = seen.get(name);
    if (first === undefined) seen.set(name, index);
    else
      report([...steps, index, 'name'], {
        code: 'step-name-twice',
        message: `Step ${first + 1} is named \`${name}\` as well; names are unique in a job.`,
      });
  }
  const graph = new Map(
    job.steps.map(
      (step, index) => [scope.steps[index] ?? '', { needs: step.needs, path: [...steps, index, 'needs'] }] as const,
    ),
  );
  checkNeeds(graph, 'step', report);
  for (const [index, step] of job.steps.entries()) checkStep(step, [...steps, index], scope, report);
}

function checkStep(step: StepSource, path: Path, scope: Scope, report: Report): void {
  const inStep = (what: string) => placeIn(scope, 'step', what);
  checkScript(step.run, [...path, 'run'], report);
  checkTimes(step, path, report);
  checkLimits(step.limits, [...path, 'limits'], report);
  if (toText(step.run).trim() === '') report([...path, 'run'], { code: 'empty', message: '`run` must not be empty.' });
  refuseTemplate(step.name, [...path, 'name'], 'The name of a step', report);
  checkImage(step.image, [...path, 'image'], placeIn(scope, 'planned', 'the image of a step'), report);
  checkEnv(step.env, [...path, 'env'], inStep('`env`'), report);
  checkWhen(step.when, [...path, 'when'], placeIn(scope, 'stepIf', 'the `when` of a step'), report);
  const folder = step['working-directory'];
  if (folder !== undefined) {
    checkInside(folder, [...path, 'working-directory'], false, report);
    checkTemplate(folder, [...path, 'working-directory'], placeIn(scope, 'planned', '`working-directory`'), report);
  }
  checkEach(step.artifacts, [...path, 'artifacts'], (artifact, at) => {
    if (typeof artifact === 'string') checkAllGlobs(artifact, at, report);
    else {
      checkAllGlobs(artifact.paths, [...at, 'paths'], report);
      if (artifact.expire !== undefined && durationMs(artifact.expire) > MAX_EXPIRE_MS)
        report([...at, 'expire'], {
          code: 'value-invalid',
          message: `\`${artifact.expire}\` is too long; ${MAX_EXPIRE_DAYS}d is the most.`,
        });
      if (artifact.name !== undefined)
        checkTemplate(artifact.name, [...at, 'name'], placeIn(scope, 'planned', 'the name of an artifact'), report);
    }
  });
  checkEach(step.cache, [...path, 'cache'], (cache, at) => {
    checkTemplate(cache.key, [...at, 'key'], inStep('`cache`'), report);
    checkEach(cache['restore-keys'], [...at, 'restore-keys'], (key, where) =>
      checkTemplate(key, where, inStep('`cache`'), report),
    );
    checkEach(cache.paths, [...at, 'paths'], (one, where) => {
      checkInside(one, where, true, report);
      refuseTemplate(one, where, 'The path of a cache', report);
    });
  });
}
