/** Whether a `when` lets something run for one event, and if not why not. */
import type { Static } from 'typebox';
import type { PipelineEvent } from '../runs/event.ts';
import type { RunsOnStatus } from '../runs/plan.ts';
import type { Expression } from './expression-ast.ts';
import { evaluateConditionNow } from './expression.ts';
import { readsAtRunTime, readsStatus } from './expression-uses.ts';
import { compileGlobs, type Matcher } from './glob.ts';
import type { MatrixCell } from './schema.ts';
import type { When } from './schema-parts.ts';
import { parseCondition } from './split-template.ts';

export type WhenSource = Static<typeof When>;
export type ConditionSource = Exclude<WhenSource, unknown[]>;

/** What a `when` is asked about, for all jobs and steps of one plan. */
export interface Occasion {
  event: PipelineEvent;
  /** Undefined: git cannot tell, every path matches. */
  changedPaths: readonly string[] | undefined;
  /** What mismatchOfEvent said of each condition: every cell of a matrix asks for the same ones. */
  mismatches: Map<ConditionSource, string | undefined>;
}

export type Verdict =
  | { runs: true; status: RunsOnStatus; /** To decide when it is known. */ if?: string }
  | { runs: false; reason: string };

/** Of several conditions any one is enough. */
export function matchWhen(when: WhenSource | undefined, occasion: Occasion, matrix: MatrixCell): Verdict {
  if (when === undefined) return { runs: true, status: 'success' };
  const mismatches: string[] = [];
  const matching: ConditionSource[] = [];
  for (const condition of toList(when)) {
    const mismatch = mismatchOf(condition, occasion, matrix);
    if (mismatch) mismatches.push(mismatch);
    else matching.push(condition);
  }
  if (matching.length === 0) return { runs: false, reason: [...new Set(mismatches)].join('; ') };
  return combine(matching.map((condition) => ({ status: statusOf(condition), later: laterIf(condition) })));
}

interface Alternative {
  status: RunsOnStatus;
  /** An `if` to decide later. */
  later: string | undefined;
}

/** Alternatives that want different things of the status say so in one `if`. */
function combine(alternatives: readonly Alternative[]): Verdict {
  const statuses = [...new Set(alternatives.map(({ status }) => status))];
  const [only] = statuses;
  const free = alternatives.filter(({ later }) => later === undefined).map(({ status }) => status);
  if (only !== undefined && statuses.length === 1) {
    if (free.length > 0) return { runs: true, status: only };
    return { runs: true, status: only, if: anyOf(alternatives.map(({ later }) => later ?? '')) };
  }
  if (free.includes('always') || new Set(free).size > 1 || free.length === alternatives.length)
    return { runs: true, status: 'always' };
  const parts = alternatives.map(({ status, later }) => {
    const asked = status === 'always' ? [] : [`${status}()`];
    return [...asked, ...(later === undefined ? [] : [`(${later})`])].join(' && ');
  });
  return { runs: true, status: 'always', if: anyOf(parts) };
}

function anyOf(conditions: readonly string[]): string {
  return conditions.length === 1 ? (conditions[0] ?? '') : conditions.map((one) => `(${one})`).join(' || ');
}

export function toList<Item>(value: Item | readonly Item[] | undefined): readonly Item[] {
  if (value === undefined) return [];
  return Array.isArray(value) ? (value as readonly Item[]) : [value as Item];
}

/** An `if` that asks for the status itself is asked whatever the status is. */
function statusOf(condition: ConditionSource): RunsOnStatus {
  if (condition.status !== undefined) return condition.status;
  return condition.if !== undefined && readsStatus(parseCondition(condition.if)) ? 'always' : 'success';
}

function laterIf(condition: ConditionSource): string | undefined {
  if (condition.if === undefined) return undefined;
  return needsRunTime(parseCondition(condition.if)) ? bare(condition.if) : undefined;
}

const needsRunTime = (expression: Expression): boolean => readsAtRunTime(expression) || readsStatus(expression);

/** Without `${{ }}`, so that it can be joined. */
function bare(text: string): string {
  return /^\$\{\{([\s\S]*)\}\}$/.exec(text.trim())?.[1]?.trim() ?? text.trim();
}

/** Why a condition is not met; undefined when it is, or is decided later. */
function mismatchOf(condition: ConditionSource, occasion: Occasion, matrix: MatrixCell): string | undefined {
  const { mismatches } = occasion;
  if (!mismatches.has(condition)) mismatches.set(condition, mismatchOfEvent(condition, occasion));
  return (
    mismatches.get(condition) ?? mismatchOfMatrix(condition, matrix) ?? mismatchOfIf(condition, occasion.event, matrix)
  );
}

function mismatchOfEvent(condition: ConditionSource, { event, changedPaths }: Occasion): string | undefined {
  const kinds = toList(condition.event);
  if (kinds.length > 0 && !anyKind(kinds, event.kind)) return `event is ${event.kind} (wants ${kinds.join(', ')})`;
  const branch = event.pullRequest?.targetBranch ?? event.branch;
  const named: [string, string | readonly string[] | undefined, string[]][] = [
    ['branch', condition.branch, branch === undefined ? [] : [branch]],
    ['tag', condition.tag, event.tag === undefined ? [] : [event.tag]],
    ['cron entry', condition.cron, event.cron === undefined ? [] : [event.cron]],
    ['repository', condition.repository, [event.repository, event.repository.split('/').slice(1).join('/')]],
  ];
  for (const [what, patterns, values] of named) {
    if (patterns === undefined || matchesNames(patterns, values)) continue;
    const [value] = values;
    const wanted = `(wants ${toList(patterns).join(', ')})`;
    return value === undefined ? `the event has no ${what} ${wanted}` : `${what} is ${value} ${wanted}`;
  }
  const { paths } = condition;
  if (paths !== undefined && changedPaths !== undefined && !changedPaths.some(matcherOf(paths)))
    return `no changed path matches ${toList(paths).join(', ')}`;
  return undefined;
}

/** Compiled once for all cells and events that a list of patterns is asked for. */
const matchers = new WeakMap<readonly string[], Matcher>();

export function matcherOf(patterns: string | readonly string[]): Matcher {
  if (typeof patterns === 'string') return compileGlobs([patterns]);
  const known = matchers.get(patterns) ?? compileGlobs(patterns);
  matchers.set(patterns, known);
  return known;
}

function anyKind(wanted: readonly string[], kind: string): boolean {
  const refused = wanted.filter((one) => one.startsWith('!')).map((one) => one.slice(1));
  const positive = wanted.filter((one) => !one.startsWith('!'));
  return !refused.includes(kind) && (positive.length === 0 || positive.includes(kind));
}

/** Some name of the same thing matches, and none is refused by a `!`. */
function matchesNames(patterns: string | readonly string[], values: readonly string[]): boolean {
  const { wanted, refused } = matcherOf(patterns);
  return values.length > 0 && values.some(wanted) && !values.some(refused);
}

function mismatchOfMatrix(condition: ConditionSource, matrix: MatrixCell): string | undefined {
  for (const [name, wanted] of Object.entries(condition.matrix ?? {})) {
    const values = toList(wanted).map(String);
    const value = Object.hasOwn(matrix, name) ? String(matrix[name]) : undefined;
    if (value === undefined || !values.includes(value))
      return `matrix.${name} is ${value ?? 'not set'} (wants ${values.join(', ')})`;
  }
  return undefined;
}

function mismatchOfIf(condition: ConditionSource, event: PipelineEvent, matrix: MatrixCell): string | undefined {
  if (condition.if === undefined || needsRunTime(parseCondition(condition.if))) return undefined;
  if (evaluateConditionNow(condition.if, { event, matrix })) return undefined;
  return `\`${bare(condition.if)}\` is false`;
}
