import { ImpGemError } from '../errors.ts';

/** The grammar of `${{ }}`: values, paths, calls, comparison, boolean operators. No loops, no assignment, no arithmetic. */

export type Value = string | number | boolean | null | Value[] | { [key: string]: Value };

export type Expression =
  | { kind: 'literal'; value: string | number | boolean | null }
  | { kind: 'path'; root: string; parts: Expression[]; at: number }
  | { kind: 'call'; name: FunctionName; args: Expression[]; at: number }
  | { kind: 'not'; operand: Expression }
  | { kind: 'binary'; operator: Operator; left: Expression; right: Expression };

export type Operator = '||' | '&&' | '==' | '!=' | '<' | '<=' | '>' | '>=';

/** Name and how many arguments: least, most. */
export const FUNCTIONS = {
  hash: [1, 20],
  contains: [2, 2],
  startsWith: [2, 2],
  endsWith: [2, 2],
  format: [1, 20],
  join: [1, 2],
  always: [0, 0],
  failure: [0, 0],
  success: [0, 0],
} as const;
export type FunctionName = keyof typeof FUNCTIONS;

export const ROOTS = ['matrix', 'env', 'event', 'run', 'needs', 'steps'] as const;
export type Root = (typeof ROOTS)[number];

/** A mistake in an expression; `at` is its offset in the expression's text. */
export class ExpressionError extends ImpGemError {
  override readonly name = 'ExpressionError';
  readonly at: number;
  readonly hint: string | undefined;
  constructor(message: string, at: number, hint?: string) {
    super('expression-invalid', message);
    this.at = at;
    this.hint = hint;
  }
}

/** Checks, warnings and every cell of a matrix ask for the nodes of the same few expressions. */
const walked = new WeakMap<Expression, readonly Expression[]>();

/** Every node below and with this one. */
export function walkExpression(root: Expression): readonly Expression[] {
  const known = walked.get(root);
  if (known) return known;
  const nodes = [root];
  // What is appended is visited as well.
  for (const node of nodes) nodes.push(...childrenOf(node));
  walked.set(root, nodes);
  return nodes;
}

function childrenOf(node: Expression): readonly Expression[] {
  switch (node.kind) {
    case 'path':
      return node.parts;
    case 'call':
      return node.args;
    case 'not':
      return [node.operand];
    case 'binary':
      return [node.left, node.right];
    case 'literal':
      return [];
  }
}
