/** Conditions that no event can fulfil, and jobs that therefore never run. */
import type { EventKind } from '../runs/event.ts';
import { needsOf } from './check-needs.ts';
import { evaluateConditionNow } from './expression.ts';
import { walkExpression } from './expression-ast.ts';
import { expandMatrix } from './expand-matrix.ts';
import type { Warn } from './find-warnings.ts';
import { compileGlobs } from './glob.ts';
import type { KeyedJob } from './jobs-of.ts';
import { type ConditionSource, toList, type WhenSource } from './match-when.ts';
import type { JobSource, PipelineSource } from './schema.ts';
import { EVENT_KINDS } from './schema-parts.ts';
import { parseCondition } from './split-template.ts';

type Kinds = ReadonlySet<EventKind>;

export function warnOfUnreachable(source: PipelineSource, jobs: readonly KeyedJob[], warn: Warn): void {
  const ofPipeline = reachableBy(source.when, new Set(EVENT_KINDS), undefined);
  if (ofPipeline.size === 0) warn(['when'], unreachable('Nothing can ever run: no event fulfils this.'));
  const own = new Map(jobs.map(({ key, job }) => [key, reachableBy(job.when, ofPipeline, job)]));
  const reachable = new Map<string, Kinds>();
  for (const { key, job, path } of jobs) {
    const kinds = withNeeds(key, jobs, own, reachable);
    if (ofPipeline.size > 0 && kinds.size === 0)
      warn(
        own.get(key)?.size === 0 ? [...path, 'when'] : [...path, 'needs'],
        neverRuns(
          key,
          own.get(key)?.size === 0 ? 'no event fulfils its `when`' : 'no event runs both it and all it needs',
        ),
      );
    for (const [index, step] of job.steps.entries())
      if (kinds.size > 0 && reachableBy(step.when, kinds, job).size === 0)
        warn(
          [...path, 'steps', index, 'when'],
          unreachable('The step can never run: no event of its job fulfils this.'),
        );
  }
}

const unreachable = (message: string) => ({ code: 'when-unreachable', message });
const neverRuns = (key: string, why: string) => ({
  code: 'job-never-runs',
  key: true,
  message: `The job \`${key}\` can never run: ${why}.`,
});

/** A job that needs a skipped one is skipped, unless it asks for failures or the need is optional. */
function withNeeds(
  key: string,
  jobs: readonly KeyedJob[],
  own: ReadonlyMap<string, Kinds>,
  known: Map<string, Kinds>,
): Kinds {
  const cached = known.get(key);
  if (cached) return cached;
  let kinds = own.get(key) ?? new Set<EventKind>();
  // Needs have no cycle: the checks have seen to that.
  const job = jobs.find((one) => one.key === key)?.job;
  if (job && !toList(job.when).some(({ status }) => status !== undefined && status !== 'success'))
    for (const need of needsOf(job.needs).filter(({ optional }) => !optional))
      kinds = intersect(kinds, withNeeds(need.name, jobs, own, known));
  known.set(key, kinds);
  return kinds;
}

function reachableBy(when: WhenSource | undefined, outer: Kinds, job: JobSource | undefined): Kinds {
  if (when === undefined) return outer;
  const all = toList(when).flatMap((condition) => [...intersect(outer, kindsOf(condition, job))]);
  return new Set(all);
}

/** Kinds of events that can fulfil one condition. */
function kindsOf(condition: ConditionSource, job: JobSource | undefined): Kinds {
  const wanted = toList(condition.event);
  const positive = wanted.filter((kind) => !kind.startsWith('!'));
  const possible: Kinds = new Set(
    EVENT_KINDS.filter(
      (kind) =>
        !wanted.includes(`!${kind}`) &&
        (positive.length === 0 || positive.includes(kind)) &&
        hasWhatIsAsked(kind, condition),
    ),
  );
  const never =
    contradicts(condition.branch) ||
    contradicts(condition.tag) ||
    isAlwaysFalse(condition.if) ||
    noCell(condition, job);
  return never ? new Set() : possible;
}

/** Only tag events have a tag and no branch, only cron events a cron entry. */
function hasWhatIsAsked(kind: EventKind, condition: ConditionSource): boolean {
  if (condition.tag !== undefined && kind !== 'tag') return false;
  if (condition.branch !== undefined && kind === 'tag') return false;
  return condition.cron === undefined || kind === 'cron';
}

/** Every name that is asked for is also ruled out. */
function contradicts(patterns: string | readonly string[] | undefined): boolean {
  const positive = toList(patterns).filter((pattern) => !pattern.startsWith('!'));
  return positive.length > 0 && positive.every((name) => !/[*?[{]/.test(name) && !compileGlobs(toList(patterns))(name));
}

/** It reads nothing, so that it is the same for every event. */
function isAlwaysFalse(text: string | undefined): boolean {
  if (text === undefined) return false;
  for (const node of walkExpression(parseCondition(text)))
    if (node.kind === 'path' || (node.kind === 'call' && ['always', 'failure', 'success', 'hash'].includes(node.name)))
      return false;
  return !evaluateConditionNow(text, {});
}

function noCell({ matrix: wanted }: ConditionSource, job: JobSource | undefined): boolean {
  const cells = wanted && job ? expandMatrix(job.matrix) : undefined;
  if (!wanted || !Array.isArray(cells)) return false;
  return !cells.some((cell) =>
    Object.entries(wanted).every(([name, values]) => toList(values).map(String).includes(String(cell[name]))),
  );
}

function intersect(a: Kinds, b: Kinds): Kinds {
  return new Set([...a].filter((kind) => b.has(kind)));
}
