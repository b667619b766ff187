/** What an expression reads, without evaluating it. */
import { type Expression, walkExpression } from './expression-ast.ts';

/** Known when the plan is made; everything else only in a running job. */
const PLANNED = new Set(['matrix', 'event']);
const STATUS = new Set(['always', 'failure', 'success']);

/** It reads what only a running job knows. */
export function readsAtRunTime(expression: Expression): boolean {
  for (const node of walkExpression(expression)) {
    if (node.kind === 'path' && !PLANNED.has(node.root)) return true;
    if (node.kind === 'call' && node.name === 'hash') return true;
  }
  return false;
}

/** It asks how what came before ended. */
export function readsStatus(expression: Expression): boolean {
  for (const node of walkExpression(expression)) if (node.kind === 'call' && STATUS.has(node.name)) return true;
  return false;
}
