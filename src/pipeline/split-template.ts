/** Text with `${{ }}` in it, taken apart. A quote inside an expression may hold `}}`. */
import { type Expression, ExpressionError } from './expression-ast.ts';
import { MAX_LENGTH, parseExpression } from './parse-expression.ts';

export type TemplatePart = string | { expression: Expression; /** Offset of the expression's text. */ at: number };

const OPEN = '${{';
const INSIDE = /(?:'(?:[^']|'')*'|[^'}]|\}(?!\}))*/y;

export function hasExpression(text: string): boolean {
  return text.includes(OPEN);
}

/** The same few texts are checked, planned for every cell and filled in by workers. */
const KEPT = 500;
const kept = new Map<string, readonly TemplatePart[]>();

/** Throws ExpressionError with `at` counted from the beginning of `text`. */
export function splitTemplate(text: string): readonly TemplatePart[] {
  if (!hasExpression(text)) return [text];
  const known = kept.get(text);
  if (known) return known;
  const parts = split(text);
  if (kept.size >= KEPT) kept.clear();
  if (text.length <= MAX_LENGTH) kept.set(text, parts);
  return parts;
}

function split(text: string): TemplatePart[] {
  const parts: TemplatePart[] = [];
  let position = 0;
  for (;;) {
    const open = text.indexOf(OPEN, position);
    if (open === -1) break;
    if (open > position) parts.push(text.slice(position, open));
    const start = open + OPEN.length;
    INSIDE.lastIndex = start;
    const inside = INSIDE.exec(text)?.[0] ?? '';
    const end = start + inside.length;
    if (!text.startsWith('}}', end)) throw new ExpressionError('`${{` is not closed by `}}`.', open);
    parts.push({ expression: parseAt(inside, start), at: start });
    position = end + 2;
  }
  if (position < text.length || parts.length === 0) parts.push(text.slice(position));
  return parts;
}

/** An `if` may be written with or without `${{ }}` around the whole of it. */
export function parseCondition(text: string): Expression {
  const trimmed = text.trim();
  if (!trimmed.startsWith(OPEN)) return parseAt(text, 0);
  const parts = splitTemplate(trimmed);
  const [only] = parts;
  if (parts.length !== 1 || !only || typeof only === 'string')
    throw new ExpressionError('An `if` is one expression: write all of it inside one `${{ }}`.', 0);
  return only.expression;
}

function parseAt(text: string, at: number): Expression {
  try {
    return parseExpression(text);
  } catch (error) {
    if (error instanceof ExpressionError) throw new ExpressionError(error.message, error.at + at, error.hint);
    throw error;
  }
}
