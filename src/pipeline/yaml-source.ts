/** A YAML file as plain JSON values that still know where they stand. */
import { type Document, isAlias, isMap, isScalar, isSeq, type Node, type Pair, type Scalar, type YAMLMap } from 'yaml';
import type { Diagnostic, Severity } from './diagnostic.ts';

/** Keys and indexes from the root. */
export type Path = readonly (string | number)[];

export interface Span {
  /** Offsets in the text. */
  start: number;
  end: number;
}

export interface YamlSource {
  file: string;
  text: string;
  /** Plain JSON; undefined when the file is no YAML at all. */
  value: unknown;
  diagnostics: Diagnostic[];
  /** Where a value (or its key) stands; undefined when this file does not have it. */
  locate(path: Path, what: 'key' | 'value'): Span | undefined;
}

/** Line and column (from 1) of a span; `endColumn` only when it ends on the same line. */
export function placeOf(text: string, span: Span): Pick<Diagnostic, 'line' | 'column' | 'endColumn'> {
  const before = text.slice(0, span.start);
  const line = before.split('\n').length;
  const column = span.start - (before.lastIndexOf('\n') + 1) + 1;
  const newline = text.indexOf('\n', span.start);
  const end = newline === -1 ? span.end : Math.min(span.end, newline);
  return { line, column, ...(end > span.start ? { endColumn: column + end - span.start } : {}) };
}

export function makeDiagnostic(
  file: string,
  text: string,
  span: Span,
  detail: { code: string; message: string; severity?: Severity; hint?: string | undefined; docs?: string | undefined },
): Diagnostic {
  const { code, message, severity = 'error', hint, docs } = detail;
  return {
    code,
    severity,
    message,
    file,
    ...placeOf(text, span),
    ...(hint === undefined ? {} : { hint }),
    ...(docs === undefined ? {} : { docs }),
  };
}

export function spanOf(node: unknown): Span {
  const range = (node as Node | null | undefined)?.range;
  return range ? { start: range[0], end: Math.max(range[1], range[0]) } : { start: 0, end: 0 };
}

/** An unquoted `<<`. */
export function isMergeKey(key: unknown): boolean {
  return isScalar(key) && key.value === '<<' && key.type === 'PLAIN';
}

const NOTHING = /^(?:~|null|Null|NULL|)$/;

/** A value that was left out, or an unquoted `null`. */
export function isNothing({ value, type, tag }: Scalar): boolean {
  return type === 'PLAIN' && tag === undefined && typeof value === 'string' && NOTHING.test(value);
}

/** Text of a key as it was written; undefined for a list, a map or nothing. */
export function keyText(key: unknown): string | undefined {
  return isScalar(key) && typeof key.value === 'string' && !isNothing(key) ? key.value : undefined;
}

/** Follows a path through aliases and merge keys. `targets` says what each alias stands for. */
export function locateIn(
  document: Document,
  targets: ReadonlyMap<unknown, Node>,
  path: Path,
  what: 'key' | 'value',
): Span | undefined {
  let node: unknown = document.contents;
  let span = spanOf(node);
  for (const [index, part] of path.entries()) {
    const container = targets.get(node) ?? node;
    if (isMap(container)) {
      const pair = findPair(container, String(part), targets, 0);
      if (!pair) return undefined;
      node = pair.value ?? pair.key;
      span = spanOf(what === 'key' && index === path.length - 1 ? pair.key : node);
    } else if (isSeq(container)) {
      if (typeof part !== 'number' || part >= container.items.length) return undefined;
      node = container.items[part];
      span = spanOf(node);
    } else return undefined;
  }
  return span;
}

function findPair(map: YAMLMap, key: string, targets: ReadonlyMap<unknown, Node>, depth: number): Pair | undefined {
  const own = map.items.find((pair) => !isMergeKey(pair.key) && keyText(pair.key) === key);
  if (own || depth > 20) return own;
  for (const pair of map.items) {
    if (!isMergeKey(pair.key)) continue;
    const value = targets.get(pair.value) ?? pair.value;
    for (const merged of isSeq(value) ? value.items : [value]) {
      const target = targets.get(merged) ?? merged;
      const found = isMap(target) && !isAlias(target) ? findPair(target, key, targets, depth + 1) : undefined;
      if (found) return found;
    }
  }
  return undefined;
}
