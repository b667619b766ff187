/** Values of expressions: truth, text, functions. */
import { ExpressionError, type FunctionName, type Value } from './expression-ast.ts';

/** Empty, false, 0 and the text `false` are not true: an output is always text, and `false` in it means false. */
export function isTruthy(value: Value): boolean {
  return value !== null && value !== false && value !== 0 && value !== '' && value !== 'false';
}

export function textOf(value: Value): string {
  if (value === null) return '';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

export interface CallContext {
  status: { success: boolean; failure: boolean };
  hash: (globs: string[]) => string;
  /** Characters of a result. */
  limit: number;
}

export function callFunction(name: FunctionName, args: Value[], context: CallContext): Value {
  const [first = null, second = null] = args;
  switch (name) {
    case 'always':
      return true;
    case 'success':
      return context.status.success;
    case 'failure':
      return context.status.failure;
    case 'hash':
      return context.hash(args.map(textOf));
    case 'contains':
      return Array.isArray(first)
        ? first.some((item) => textOf(item) === textOf(second))
        : textOf(first).includes(textOf(second));
    case 'startsWith':
      return textOf(first).startsWith(textOf(second));
    case 'endsWith':
      return textOf(first).endsWith(textOf(second));
    case 'join':
      return bounded(
        (Array.isArray(first) ? first : [first]).map(textOf),
        second === null ? ',' : textOf(second),
        context,
      );
    case 'format':
      return format(args.map(textOf), context);
  }
}

/** `{0}` is the first argument after the text; `{{` and `}}` are braces. */
function format([template = '', ...values]: string[], context: CallContext): string {
  const pieces = template.split(/(\{\{|\}\}|\{\d{1,2}\})/).map((piece) => {
    if (piece === '{{') return '{';
    if (piece === '}}') return '}';
    const index = /^\{(\d{1,2})\}$/.exec(piece)?.[1];
    return index === undefined ? piece : (values[Number(index)] ?? '');
  });
  return bounded(pieces, '', context);
}

function bounded(pieces: string[], separator: string, { limit }: CallContext): string {
  const length = pieces.reduce((sum, piece) => sum + piece.length + separator.length, 0);
  if (length > limit) throw new ExpressionError(`The result is longer than ${limit} characters.`, 0);
  return pieces.join(separator);
}
