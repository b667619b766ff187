/** Values that stand at several places: images, patterns, paths, conditions, groups. */
import type { Static } from 'typebox';
import { parseSize } from '../config/units.ts';
import { checkCondition, checkTemplate, type Place, PLACES, type Scope } from './check-expression.ts';
import { isTooLong } from './duration-ms.ts';
import { problemOfGlob } from './glob.ts';
import { parseImageReference } from './image-reference.ts';
import { isInside } from './path-inside.ts';
import type { WhenSource } from './match-when.ts';
import type { Report } from './pipeline.ts';
import type { Concurrency, Limits as LimitsSchema } from './schema-parts.ts';
import { hasExpression } from './split-template.ts';
import type { Path } from './yaml-source.ts';

type Limits = Static<typeof LimitsSchema>;

export type Stage = keyof typeof PLACES;

export function placeIn(scope: Scope, stage: Stage, name: string): Place {
  return { scope, stage: PLACES[stage], name };
}

export function checkImage(image: string | undefined, path: Path, place: Place, report: Report): void {
  if (image === undefined || !checkTemplate(image, path, place, report) || hasExpression(image)) return;
  if (!parseImageReference(image))
    report(path, {
      code: 'image-invalid',
      message: `\`${image}\` is not the name of an image.`,
      hint: 'Write it as in `docker pull`: node:22-bookworm-slim.',
    });
}

/** For a text that is the same in every run. `what` begins the sentence. */
export function refuseTemplate(text: unknown, path: Path, what: string, report: Report): void {
  if (typeof text !== 'string' || !hasExpression(text)) return;
  report(path, { code: 'expression-place', message: `${what} takes no \`\${{ }}\`: it is the same in every run.` });
}

export function checkEnv(
  env: Readonly<Record<string, unknown>> | undefined,
  path: Path,
  place: Place,
  report: Report,
): void {
  for (const [name, value] of Object.entries(env ?? {})) {
    checkTemplate(String(value), [...path, name], place, report);
    refuseNul(String(value), [...path, name], report);
  }
}

/** It ends a text in every system call. */
export function refuseNul(text: string, path: Path, report: Report): void {
  if (text.includes('\0'))
    report(path, { code: 'value-invalid', message: 'This holds a NUL character, which no program can be given.' });
}

/** Each entry of a value or a list, with its path. */
export function checkEach<Item>(
  value: Item | readonly Item[] | undefined,
  path: Path,
  check: (item: Item, path: Path) => void,
): void {
  if (Array.isArray(value)) for (const [index, item] of value.entries()) check(item as Item, [...path, index]);
  else if (value !== undefined) check(value as Item, path);
}

function checkGlob(pattern: string, path: Path, report: Report): void {
  const problem = problemOfGlob(pattern.replace(/^!/, ''));
  if (problem !== undefined) report(path, { code: 'glob-invalid', message: `The pattern ${problem}.` });
}

/** Times that are waited for: `timeout` and `retry: { delay }` of a job or a step. */
export function checkTimes(
  { timeout, retry }: { timeout?: string | undefined; retry?: number | { delay?: string } | undefined },
  path: Path,
  report: Report,
): void {
  const delay = typeof retry === 'object' ? retry.delay : undefined;
  for (const [text, at] of [
    [timeout, ['timeout']],
    [delay, ['retry', 'delay']],
  ] as const)
    if (text !== undefined && isTooLong(text))
      report([...path, ...at], { code: 'value-invalid', message: `\`${text}\` is too long; 24d is the most.` });
}

/** No container engine starts anything with less; whether bytes or a size, the schema has seen to it. */
const LEAST_MEMORY = '6m';

export function checkLimits(limits: Limits | undefined, path: Path, report: Report): void {
  const memory = limits?.memory;
  if (memory === undefined || (parseSize(String(memory)) ?? 0) >= (parseSize(LEAST_MEMORY) ?? 0)) return;
  report([...path, 'memory'], {
    code: 'value-invalid',
    message: `\`${memory}\` of memory is too little for any step; ${LEAST_MEMORY} is the least.`,
  });
}

/** A path that may not leave the workspace; `home` allows `~/`. */
export function checkInside(text: string, path: Path, home: boolean, report: Report): void {
  if (isInside(home && text.startsWith('~/') ? text.slice(2) : text)) return;
  report(path, {
    code: 'path-outside',
    message: `\`${text}\` is not in the workspace.`,
    hint: home ? 'Write a path relative to the workspace, or under ~/.' : 'Write a path relative to the workspace.',
  });
}

export function checkWhen(when: WhenSource | undefined, path: Path, place: Place, report: Report): void {
  const { scope } = place;
  checkEach(when, path, (condition, at) => {
    for (const key of ['branch', 'tag', 'paths', 'repository', 'cron'] as const)
      checkEach(condition[key], [...at, key], (pattern, where) => checkGlob(pattern, where, report));
    if (condition.if !== undefined) checkCondition(condition.if, [...at, 'if'], place, report);
    for (const [name, values] of Object.entries(condition.matrix ?? {})) {
      checkEach(values, [...at, 'matrix', name], (value, where) =>
        refuseTemplate(value, where, 'A value of the matrix', report),
      );
      if (scope.matrix !== 'unknown' && !scope.matrix.has(name))
        report([...at, 'matrix', name], {
          code: 'matrix-unknown',
          key: true,
          message: `The matrix has no \`${name}\`.`,
        });
    }
  });
}

export function checkConcurrency(
  concurrency: Static<typeof Concurrency> | undefined,
  path: Path,
  place: Place,
  report: Report,
): void {
  if (concurrency === undefined) return;
  const group = typeof concurrency === 'string' ? concurrency : concurrency.group;
  checkTemplate(group, typeof concurrency === 'string' ? path : [...path, 'group'], place, report);
  if (typeof concurrency !== 'string' && concurrency.mode !== undefined && concurrency.cancel !== undefined)
    report([...path, 'cancel'], {
      code: 'concurrency-twice',
      key: true,
      message: 'Write `mode` or `cancel`, not both.',
    });
}

export function checkAllGlobs(value: string | readonly string[], path: Path, report: Report): void {
  checkEach(value, path, (pattern, at) => {
    checkGlob(pattern, at, report);
    checkInside(pattern.replace(/^!/, ''), at, false, report);
  });
}
