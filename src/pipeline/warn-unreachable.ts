/** Conditions that no event can fulfil, and jobs that therefore never run. */
import type { EventKind } from '../runs/event.ts';
import { needsOf } from './check-needs.ts';
import { EVENT_KINDS } from './event-kinds.ts';
import { evaluateConditionNow } from './expression.ts';
import { walkExpression } from './expression-ast.ts';
import { expandMatrix } from './expand-matrix.ts';
import type { Warn } from './find-warnings.ts';
import type { KeyedJob } from './jobs-of.ts';
import { type ConditionSource, matcherOf, toList, type WhenSource } from './match-when.ts';
import type { JobSource, PipelineSource } from './schema.ts';
import { parseCondition } from './split-template.ts';

/** Kinds of events that get there, each with the lists of branches that one of them must be in: `[[]]` is any branch. */
type Reach = ReadonlyMap<EventKind, readonly Names[]>;
/** Lists of patterns; a branch must match all. */
type Names = readonly (readonly string[])[];

const ANYTHING: Reach = new Map(EVENT_KINDS.map((kind) => [kind, [[]]]));
/** Combinations of one kind; of more it is only known that there are some. */
const MAX_COMBINATIONS = 16;
/** Lists of one combination, and patterns of a list; what is more is not asked. */
const MAX_LISTS = 8;
const MAX_PATTERNS = 16;

export function warnOfUnreachable(source: PipelineSource, jobs: readonly KeyedJob[], warn: Warn): void {
  const ofPipeline = reachableBy(source.when, ANYTHING, undefined);
  if (ofPipeline.size === 0) warn(['when'], unreachable('Nothing can ever run: no event fulfils this.'));
  const own = new Map(jobs.map(({ key, job }) => [key, reachableBy(job.when, ofPipeline, job)]));
  const reachable = new Map<string, Reach>();
  for (const { key, job, path } of jobs) {
    const reach = withNeeds(key, jobs, own, reachable);
    if (ofPipeline.size > 0 && reach.size === 0)
      warn(
        own.get(key)?.size === 0 ? [...path, 'when'] : [...path, 'needs'],
        neverRuns(
          key,
          own.get(key)?.size === 0 ? 'no event fulfils its `when`' : 'no event runs both it and all it needs',
        ),
      );
    for (const [index, step] of job.steps.entries())
      if (reach.size > 0 && reachableBy(step.when, reach, job).size === 0)
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
  own: ReadonlyMap<string, Reach>,
  known: Map<string, Reach>,
): Reach {
  const cached = known.get(key);
  if (cached) return cached;
  let reach: Reach = own.get(key) ?? new Map();
  // Needs have no cycle: the checks have seen to that.
  const job = jobs.find((one) => one.key === key)?.job;
  if (job && !toList(job.when).some(({ status }) => status !== undefined && status !== 'success'))
    for (const need of needsOf(job.needs).filter(({ optional }) => !optional))
      reach = both(reach, withNeeds(need.name, jobs, own, known));
  known.set(key, reach);
  return reach;
}

function reachableBy(when: WhenSource | undefined, outer: Reach, job: JobSource | undefined): Reach {
  if (when === undefined) return outer;
  const reach = new Map<EventKind, readonly Names[]>();
  for (const condition of toList(when))
    for (const [kind, branches] of both(outer, reachOf(condition, job)))
      reach.set(kind, bounded([...(reach.get(kind) ?? []), ...branches]));
  return reach;
}

/** What can fulfil one condition. */
function reachOf(condition: ConditionSource, job: JobSource | undefined): Reach {
  const never = !someName(namesIn(condition.tag)) || isAlwaysFalse(condition.if) || noCell(condition, job);
  const wanted = toList(condition.event);
  const positive = wanted.filter((kind) => !kind.startsWith('!'));
  const branches = namesIn(condition.branch);
  if (never || !someName(branches)) return new Map();
  return new Map(
    EVENT_KINDS.filter(
      (kind) =>
        !wanted.includes(`!${kind}`) &&
        (positive.length === 0 || positive.includes(kind)) &&
        hasWhatIsAsked(kind, condition),
    ).map((kind) => [kind, [branches]]),
  );
}

function namesIn(patterns: ConditionSource['branch']): Names {
  const list = toList(patterns);
  return list.length === 0 || list.length > MAX_PATTERNS ? [] : [list];
}

/** Events that get through two doors. */
function both(a: Reach, b: Reach): Reach {
  const reach = new Map<EventKind, readonly Names[]>();
  for (const [kind, left] of a) {
    const right = b.get(kind) ?? [];
    const combined = bounded(left.flatMap((one) => right.map((other) => join(one, other)))).filter(someName);
    if (combined.length > 0) reach.set(kind, combined);
  }
  return reach;
}

function join(one: Names, other: Names): Names {
  const lists = new Map([...one, ...other].map((patterns) => [JSON.stringify(patterns), patterns]));
  return [...lists.values()].slice(0, MAX_LISTS);
}

function bounded(combinations: readonly Names[]): readonly Names[] {
  return combinations.length > MAX_COMBINATIONS ? [[]] : combinations;
}

/** False when the names that one list asks for are all ruled out by another (or by itself). */
function someName(lists: Names): boolean {
  const matchers = lists.map(matcherOf);
  return lists.every((patterns) => {
    const names = patterns.filter((pattern) => !pattern.startsWith('!'));
    if (names.length === 0 || names.some((name) => /[*?[{]/.test(name))) return true;
    return names.some((name) => matchers.every((matches) => matches(name)));
  });
}

/** Only tag events have a tag and no branch, only cron events a cron entry. */
function hasWhatIsAsked(kind: EventKind, condition: ConditionSource): boolean {
  if (condition.tag !== undefined && kind !== 'tag') return false;
  if (condition.branch !== undefined && kind === 'tag') return false;
  return condition.cron === undefined || kind === 'cron';
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
