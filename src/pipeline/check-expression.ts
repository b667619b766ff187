/** Whether an expression reads only what exists at its place. */
import type { PullRequest } from '../runs/event.ts';
import { nearest } from '../config/nearest.ts';
import { type Expression, ExpressionError, type FunctionName, type Root, walkExpression } from './expression-ast.ts';
import type { Report } from './pipeline.ts';
import type { JobSource } from './schema.ts';
import { hasExpression, parseCondition, splitTemplate, type TemplatePart } from './split-template.ts';
import type { Path } from './yaml-source.ts';

/** What an expression may read, and what there is of it. */
export interface Scope {
  /** All jobs, for `needs.KEY.outputs`. */
  jobs: Readonly<Record<string, JobSource>>;
  /** Names of the matrix; 'unknown' where the text is used by several jobs. */
  matrix: ReadonlySet<string> | 'unknown';
  /** Keys that the job needs; 'unknown' as above. */
  needs: readonly string[] | 'unknown';
  /** Names of the steps of the job. */
  steps: readonly string[];
}

/** What is known at one time. */
interface Stage {
  roots: readonly Root[];
  functions: readonly FunctionName[];
}

export interface Place {
  scope: Scope;
  stage: Stage;
  /** For the sentence: `env`. */
  name: string;
}

const PURE: readonly FunctionName[] = ['contains', 'startsWith', 'endsWith', 'format', 'join'];
const STATUS: readonly FunctionName[] = ['always', 'failure', 'success'];

/** What is known where: while planning, while a job runs, in an `if`. */
export const PLACES = {
  planned: { roots: ['matrix', 'event'], functions: PURE },
  pipeline: { roots: ['event'], functions: PURE },
  jobEnv: { roots: ['matrix', 'event', 'run', 'needs'], functions: [...PURE, 'hash'] },
  step: { roots: ['matrix', 'event', 'run', 'needs', 'env', 'steps'], functions: [...PURE, 'hash'] },
  jobIf: { roots: ['matrix', 'event', 'needs'], functions: [...PURE, ...STATUS] },
  stepIf: { roots: ['matrix', 'event', 'run', 'needs', 'env', 'steps'], functions: [...PURE, 'hash', ...STATUS] },
} as const satisfies Record<string, Stage>;

const EVENT_FIELDS = [
  'kind',
  'repository',
  'ref',
  'branch',
  'tag',
  'sha',
  'before',
  'message',
  'author',
  'authorEmail',
  'pullRequest',
  'defaultBranch',
  'cron',
  'delivery',
  'receivedAt',
];
const PULL_REQUEST_FIELDS: (keyof PullRequest)[] = [
  'number',
  'title',
  'action',
  'sourceBranch',
  'targetBranch',
  'fork',
];
const RUN_FIELDS = ['id', 'number', 'attempt', 'url'];

/** Text that may hold `${{ }}`. Gives false when something is wrong with it. */
export function checkTemplate(text: string, path: Path, place: Place, report: Report): boolean {
  if (!hasExpression(text)) return true;
  return attempt(text, path, report, () => {
    const parts = splitTemplate(text).filter((part): part is Exclude<TemplatePart, string> => typeof part !== 'string');
    return parts.map(({ expression, at }) => checkReads(expression, text, at, path, place, report)).every(Boolean);
  });
}

/** An `if`. */
export function checkCondition(text: string, path: Path, place: Place, report: Report): boolean {
  return attempt(text, path, report, () => checkReads(parseCondition(text), text, 0, path, place, report));
}

function attempt(text: string, path: Path, report: Report, check: () => boolean): boolean {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    const { message, hint } = error;
    report(path, { code: 'expression-invalid', message, hint, part: /\S+/.exec(text.slice(error.at))?.[0] });
    return false;
  }
}

function checkReads(root: Expression, text: string, at: number, path: Path, place: Place, report: Report): boolean {
  let fine = true;
  for (const node of walkExpression(root)) {
    if (node.kind !== 'path' && node.kind !== 'call') continue;
    const problem = node.kind === 'call' ? problemOfCall(node.name, place) : problemOfPath(node, place);
    if (!problem) continue;
    fine = false;
    const part = /^[\w.[\]'-]+/.exec(text.slice(at + node.at))?.[0];
    report(path, { ...problem, part });
  }
  return fine;
}

interface Problem {
  code: string;
  message: string;
  hint?: string | undefined;
}

function problemOfCall(name: FunctionName, { stage: { functions }, name: place }: Place): Problem | undefined {
  if (functions.includes(name)) return undefined;
  return {
    code: 'expression-place',
    message: `\`${name}()\` cannot be used in ${place}.`,
    hint: `There are ${functions.join(', ')}.`,
  };
}

function problemOfPath(node: Expression & { kind: 'path' }, place: Place): Problem | undefined {
  const root = node.root as Root;
  const { scope, stage } = place;
  if (!stage.roots.includes(root))
    return {
      code: 'expression-place',
      message: `\`${root}\` is not known in ${place.name}.`,
      hint: `There are ${stage.roots.join(', ')}.`,
    };
  const [first, second, third] = node.parts.map((part) => (part.kind === 'literal' ? String(part.value) : undefined));
  if (first === undefined) return undefined;
  switch (root) {
    case 'matrix':
      return scope.matrix === 'unknown' ? undefined : unknownName('matrix', first, [...scope.matrix]);
    case 'event':
      return (
        unknownName('event', first, EVENT_FIELDS) ??
        (first === 'pullRequest' && second !== undefined
          ? unknownName('event.pullRequest', second, PULL_REQUEST_FIELDS)
          : undefined)
      );
    case 'run':
      return unknownName('run', first, RUN_FIELDS);
    case 'needs':
      return problemOfNeed(first, second, third, scope);
    case 'steps':
      return unknownName('steps', first, scope.steps) ?? problemOfField(`steps.${first}`, second);
    case 'env':
      return undefined;
  }
}

function problemOfNeed(
  key: string,
  field: string | undefined,
  output: string | undefined,
  { jobs, needs }: Scope,
): Problem | undefined {
  if (needs === 'unknown') return undefined;
  if (!needs.includes(key) && Object.hasOwn(jobs, key))
    return {
      code: 'expression-unknown',
      message: `This job does not need \`${key}\`.`,
      hint: `Add \`needs: [${key}]\`.`,
    };
  const problem = unknownName('needs', key, needs) ?? problemOfField(`needs.${key}`, field);
  if (problem || field !== 'outputs' || output === undefined) return problem;
  const job = Object.hasOwn(jobs, key) ? jobs[key] : undefined;
  return unknownName(`needs.${key}.outputs`, output, Object.keys(job?.outputs ?? {}));
}

function problemOfField(owner: string, field: string | undefined): Problem | undefined {
  return field === undefined ? undefined : unknownName(owner, field, ['outputs', 'result']);
}

function unknownName(owner: string, name: string, known: readonly string[]): Problem | undefined {
  if (known.includes(name)) return undefined;
  const near = nearest(name, known);
  return {
    code: 'expression-unknown',
    message: `There is no \`${owner}.${name}\`.`,
    hint: near
      ? `Did you mean \`${owner}.${near}\`?`
      : known.length > 0
        ? `There are ${known.slice(0, 15).join(', ')}.`
        : undefined,
  };
}
