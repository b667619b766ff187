/** Text with `${{ }}` in it, taken apart. A quote inside an expression may hold `}}`. */
import { type Expression, ExpressionError } from './expression-ast.ts';
import { parseExpression } from './parse-expression.ts';

export type TemplatePart = string | { expression: Expression; /** Offset of the expression's text. */ at: number };

const OPEN = '${{';
const INSIDE = /(?:'(?:[^']|'')*'|[^'}]|\}(?!\}))*/y;

export function hasExpression(text: string): boolean {
  return text.includes(OPEN);
}

/** How many `${{` a text has. */
export function countExpressions(text: string): number {
  let count = 0;
  for (let at = text.indexOf(OPEN); at !== -1; at = text.indexOf(OPEN, at + OPEN.length)) count += 1;
  return count;
}

/** Expressions of one text. */
const MAX_EXPRESSIONS = 100;

/**
 * The same few texts are checked, planned for every cell and filled in by workers. All that stand in one file have room
 * (512 KiB), so that each is read once however often aliases and a matrix repeat it.
 */
const KEPT_CHARACTERS = 1024 * 1024;

function remember<Result>(read: (text: string) => Result): (text: string) => Result {
  const kept = new Map<string, Result>();
  let characters = 0;
  return (text) => {
    const known = kept.get(text);
    if (known !== undefined) return known;
    const result = read(text);
    characters += text.length;
    if (characters > KEPT_CHARACTERS) {
      kept.clear();
      characters = text.length;
    }
    kept.set(text, result);
    return result;
  };
}

const splitOnce = remember(split);
const parseOnce = remember((text) => parseAt(text, 0));

/** Throws ExpressionError with `at` counted from the beginning of `text`. */
export function splitTemplate(text: string): readonly TemplatePart[] {
  if (!hasExpression(text)) return [text];
  return splitOnce(text);
}

function split(text: string): TemplatePart[] {
  const parts: TemplatePart[] = [];
  let position = 0;
  if (countExpressions(text) > MAX_EXPRESSIONS)
    throw new ExpressionError(`A text has at most ${MAX_EXPRESSIONS} expressions.`, 0);
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
  if (!trimmed.startsWith(OPEN)) return parseOnce(text);
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
