import { nearest } from '../config/nearest.ts';
import {
  type Expression,
  ExpressionError,
  type FunctionName,
  FUNCTIONS,
  type Operator,
  ROOTS,
} from './expression-ast.ts';

/** Characters of one expression. */
const MAX_LENGTH = 4096;
const MAX_DEPTH = 40;

interface Token {
  kind: 'name' | 'text' | 'number' | 'symbol' | 'end';
  text: string;
  at: number;
}

const TOKEN =
  /\s+|([A-Za-z_](?:[A-Za-z0-9_]|-(?=[A-Za-z0-9_]))*)|('(?:[^']|'')*')|(-?\d+(?:\.\d+)?)|(\|\||&&|[=!<>]=|[<>!()[\].,])/y;

/** Of the groups of TOKEN. */
const KINDS = ['name', 'text', 'number', 'symbol'] as const;

/** Levels of binary operators, loosest first. */
const LEVELS: Operator[][] = [['||'], ['&&'], ['==', '!=', '<', '<=', '>', '>=']];

/** Parses what stands between `${{` and `}}`. Throws ExpressionError, and nothing else. */
export function parseExpression(text: string): Expression {
  if (text.length > MAX_LENGTH) throw new ExpressionError(`An expression has at most ${MAX_LENGTH} characters.`, 0);
  const tokens = tokenize(text);
  let index = 0;
  let depth = 0;
  const peek = (): Token => tokens[index] ?? { kind: 'end', text: '', at: text.length };
  const take = (): Token => {
    const token = peek();
    index += 1;
    return token;
  };
  const isSymbol = (symbol: string): boolean => peek().kind === 'symbol' && peek().text === symbol;
  const expect = (symbol: string): void => {
    if (!isSymbol(symbol)) throw new ExpressionError(`\`${symbol}\` is missing before ${show(peek())}.`, peek().at);
    index += 1;
  };
  const nested = <T>(parse: () => T): T => {
    depth += 1;
    if (depth > MAX_DEPTH) throw new ExpressionError('The expression is nested too deeply.', peek().at);
    const result = parse();
    depth -= 1;
    return result;
  };

  function parseLevel(level: number): Expression {
    const operators = LEVELS[level];
    if (!operators) return parseUnary();
    let left = parseLevel(level + 1);
    let links = 0;
    for (;;) {
      const operator = operators.find(isSymbol);
      if (!operator) return left;
      links += 1;
      if (links > MAX_DEPTH) throw new ExpressionError('The expression has too many operators in a row.', peek().at);
      index += 1;
      left = { kind: 'binary', operator, left, right: parseLevel(level + 1) };
    }
  }

  function parseUnary(): Expression {
    if (!isSymbol('!')) return parsePrimary();
    index += 1;
    return { kind: 'not', operand: nested(parseUnary) };
  }

  function parsePrimary(): Expression {
    const token = take();
    if (token.kind === 'text') return { kind: 'literal', value: token.text.slice(1, -1).replaceAll("''", "'") };
    if (token.kind === 'number') return { kind: 'literal', value: Number(token.text) };
    if (token.kind === 'symbol' && token.text === '(') {
      const inner = nested(() => parseLevel(0));
      expect(')');
      return inner;
    }
    if (token.kind !== 'name') throw new ExpressionError(`A value is missing before ${show(token)}.`, token.at);
    if (token.text === 'true' || token.text === 'false') return { kind: 'literal', value: token.text === 'true' };
    if (token.text === 'null') return { kind: 'literal', value: null };
    return isSymbol('(') ? parseCall(token) : parsePath(token);
  }

  function parseCall(token: Token): Expression {
    const name = functionName(token);
    expect('(');
    const args: Expression[] = [];
    while (!isSymbol(')')) {
      if (args.length > 0) expect(',');
      args.push(nested(() => parseLevel(0)));
    }
    expect(')');
    const [least, most] = FUNCTIONS[name];
    if (args.length < least || args.length > most)
      throw new ExpressionError(
        `\`${name}\` takes ${least === most ? least : `${least} to ${most}`} arguments, not ${args.length}.`,
        token.at,
      );
    return { kind: 'call', name, args, at: token.at };
  }

  function parsePath(token: Token): Expression {
    if (!(ROOTS as readonly string[]).includes(token.text)) throw unknownRoot(token);
    const parts: Expression[] = [];
    while (isSymbol('.') || isSymbol('[')) {
      if (parts.length >= MAX_DEPTH) throw new ExpressionError('The path is too long.', token.at);
      if (take().text === '[') {
        parts.push(nested(() => parseLevel(0)));
        expect(']');
      } else {
        const part = take();
        if (part.kind !== 'name') throw new ExpressionError(`A name is missing after \`.\`.`, part.at);
        parts.push({ kind: 'literal', value: part.text });
      }
    }
    return { kind: 'path', root: token.text, parts, at: token.at };
  }

  const result = parseLevel(0);
  if (peek().kind !== 'end') throw new ExpressionError(`${show(peek())} was not expected here.`, peek().at);
  return result;
}

function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (!match) throw unknownCharacter(text, at);
    const groups: (string | undefined)[] = match.slice(1);
    const kind = KINDS[groups.findIndex((group) => group !== undefined)];
    if (kind) tokens.push({ kind, text: match[0], at });
  }
  return tokens;
}

function unknownCharacter(text: string, at: number): ExpressionError {
  const character = text[at] ?? '';
  if (character === '"') return new ExpressionError("Text stands in single quotes: 'like this'.", at);
  if (character === "'") return new ExpressionError('The quote is not closed.', at);
  const hint = { '=': 'Write `==`.', '&': 'Write `&&`.', '|': 'Write `||`.' }[character];
  return new ExpressionError(`\`${character}\` has no meaning here.`, at, hint);
}

function functionName(token: Token): FunctionName {
  if (Object.hasOwn(FUNCTIONS, token.text)) return token.text as FunctionName;
  const names = Object.keys(FUNCTIONS);
  const near = token.text === 'hashFiles' ? 'hash' : nearest(token.text, names);
  throw new ExpressionError(
    `There is no function \`${token.text}\`.`,
    token.at,
    near ? `Did you mean \`${near}\`?` : `There are ${names.join(', ')}.`,
  );
}

function unknownRoot(token: Token): ExpressionError {
  if (token.text === 'secrets')
    return new ExpressionError(
      'Secrets are not part of expressions.',
      token.at,
      'List the name under `secrets`: it becomes an environment variable.',
    );
  const near = token.text === 'github' ? 'event' : nearest(token.text, ROOTS);
  return new ExpressionError(
    `There is no value \`${token.text}\`.`,
    token.at,
    near ? `Did you mean \`${near}\`?` : `There are ${ROOTS.join(', ')}; text stands in single quotes.`,
  );
}

function show(token: Token): string {
  return token.kind === 'end' ? 'the end' : `\`${token.text}\``;
}
