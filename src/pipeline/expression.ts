/**
 * Evaluates `${{ }}`. Total: no loops, bounded size of text, depth and result, never JavaScript and never a shell.
 * A value that does not exist is empty; a mistake in the text throws ExpressionError (the planner has found it before).
 */
import { type Expression, ExpressionError, type Value } from './expression-ast.ts';
import { callFunction, isTruthy, textOf } from './expression-values.ts';
import { parseCondition, splitTemplate } from './split-template.ts';

export interface ExpressionContext {
  matrix?: Readonly<Record<string, string | number | boolean>>;
  env?: Readonly<Record<string, string>>;
  /** The PipelineEvent. */
  event?: object;
  /** Of the run: id, number, attempt, url. */
  run?: object;
  needs?: Readonly<Record<string, { result: string; outputs: Record<string, string> }>>;
  steps?: Readonly<Record<string, { result?: string; outputs: Record<string, string> }>>;
  /** How it went so far; default: well. */
  status?: Status;
}

/** What `success()` and `failure()` tell: whether `status: success` and `status: failure` would run. Neither does after a mere skip. */
export interface Status {
  success: boolean;
  failure: boolean;
}

/** Hash over the contents of the files that match, '' when none does. Answered where the files are. */
export type HashFiles = (globs: string[]) => Promise<string>;

/** Bytes of one result: what an environment variable can hold with room to spare. */
const MAX_RESULT = 64 * 1024;
/** hash(hash(...)) is asked in rounds; the grammar bounds them as well. */
const MAX_ROUNDS = 10;

const WELL: Status = { success: true, failure: false };

type HashNow = (globs: string[]) => string;

/** Text with every `${{ }}` replaced by its value. */
export async function interpolate(text: string, context: ExpressionContext, hash?: HashFiles): Promise<string> {
  return withHashes((now) => interpolateNow(text, context, now), hash);
}

/** Whether an `if` (with or without `${{ }}` around it) holds. */
export async function evaluateCondition(text: string, context: ExpressionContext, hash?: HashFiles): Promise<boolean> {
  return withHashes((now) => evaluateConditionNow(text, context, now), hash);
}

/** As interpolate, where no `hash()` can be answered: it is empty unless `hash` is given. */
export function interpolateNow(text: string, context: ExpressionContext, hash: HashNow = () => ''): string {
  let result = '';
  for (const part of splitTemplate(text)) {
    result += typeof part === 'string' ? part : textOf(evaluate(part.expression, context, hash));
    if (result.length > MAX_RESULT) throw new ExpressionError(`The result is longer than ${MAX_RESULT} characters.`, 0);
  }
  return result;
}

/** As evaluateCondition, where no `hash()` can be answered. */
export function evaluateConditionNow(text: string, context: ExpressionContext, hash: HashNow = () => ''): boolean {
  return isTruthy(evaluate(parseCondition(text), context, hash));
}

/** Evaluates with what is known of hashes, asks for the missing ones, and evaluates again until none is missing. */
async function withHashes<Result>(run: (now: HashNow) => Result, hash: HashFiles | undefined): Promise<Result> {
  const known = new Map<string, string>();
  for (let round = 0; ; round++) {
    const missing = new Map<string, string[]>();
    const result = run((globs) => {
      const key = JSON.stringify(globs);
      if (!known.has(key)) missing.set(key, globs);
      return known.get(key) ?? '';
    });
    if (missing.size === 0 || !hash || round >= MAX_ROUNDS) return result;
    for (const [key, globs] of missing) known.set(key, await hash(globs));
  }
}

function evaluate(node: Expression, context: ExpressionContext, hash: HashNow): Value {
  switch (node.kind) {
    case 'literal':
      return node.value;
    case 'path':
      return readPath(node, context, hash);
    case 'not':
      return !isTruthy(evaluate(node.operand, context, hash));
    case 'call':
      return callFunction(
        node.name,
        node.args.map((arg) => evaluate(arg, context, hash)),
        { status: context.status ?? WELL, hash, limit: MAX_RESULT },
      );
    case 'binary':
      return evaluateBinary(node, context, hash);
  }
}

function evaluateBinary(node: Expression & { kind: 'binary' }, context: ExpressionContext, hash: HashNow): Value {
  const left = evaluate(node.left, context, hash);
  if (node.operator === '&&') return isTruthy(left) ? evaluate(node.right, context, hash) : left;
  if (node.operator === '||') return isTruthy(left) ? left : evaluate(node.right, context, hash);
  return compare(node.operator, left, evaluate(node.right, context, hash));
}

/** As numbers when both are or read as numbers, else as text; two texts are equal only if they are the same: `3.10` is not `3.1`. */
function compare(operator: string, left: Value, right: Value): boolean {
  const same = operator === '==' || operator === '!=';
  const texts = typeof left === 'string' && typeof right === 'string';
  const numbers = same && texts ? [] : [numberOf(left), numberOf(right)];
  const [a, b] =
    numbers[0] !== undefined && numbers[1] !== undefined
      ? (numbers as [number, number])
      : [textOf(left), textOf(right)];
  switch (operator) {
    case '==':
      return a === b;
    case '!=':
      return a !== b;
    case '<':
      return a < b;
    case '<=':
      return a <= b;
    case '>':
      return a > b;
    default:
      return a >= b;
  }
}

function numberOf(value: Value): number | undefined {
  if (typeof value === 'number') return value;
  return typeof value === 'string' && /^-?\d{1,15}(\.\d{1,15})?$/.test(value) ? Number(value) : undefined;
}

/** Only own properties: `constructor` and the like are empty, as every name that does not exist. */
function readPath(node: Expression & { kind: 'path' }, context: ExpressionContext, hash: HashNow): Value {
  let value: unknown = context[node.root as keyof ExpressionContext];
  for (const part of node.parts) {
    const key = textOf(evaluate(part, context, hash));
    value =
      typeof value === 'object' && value !== null && Object.hasOwn(value, key)
        ? (value as Record<string, unknown>)[key]
        : null;
  }
  return toValue(value);
}

function toValue(value: unknown): Value {
  return value === undefined || typeof value === 'function' ? null : (value as Value);
}
