/**
 * YAML nodes to plain JSON values, by hand: the size that aliases expand to is counted before anything walks it,
 * duplicates are found in linear time, and no key can reach a prototype.
 */
import { isAlias, isMap, isScalar, isSeq, type Node, type YAMLMap, type YAMLSeq } from 'yaml';
import { isMergeKey, keyText, type Span, spanOf } from './yaml-source.ts';

/** Values after aliases are expanded. A pipeline of 2,000 lines has about 5,000. */
const MAX_VALUES = 50_000;
const MAX_DEPTH = 50;

export type Report = (span: Span, code: string, message: string, hint?: string) => void;

export interface Converted {
  value: unknown;
  /** What each alias stands for. */
  targets: Map<unknown, Node>;
}

interface Sized {
  value: unknown;
  size: number;
  depth: number;
}

/** Ends the conversion: what follows would only be more of it. */
class Stop extends Error {}

/** Gives undefined as value when the file is too large to go on. */
export function convertYaml(contents: unknown, report: Report): Converted {
  const targets = new Map<unknown, Node>();
  const anchors = new Map<string, { node: Node; done?: Sized }>();
  let total = 0;

  const fail = (span: Span, code: string, message: string): never => {
    report(span, code, message);
    throw new Stop();
  };
  const spend = (amount: number, node: unknown): void => {
    total += amount;
    if (total > MAX_VALUES)
      fail(spanOf(node), 'too-large', `The file has more than ${MAX_VALUES} values once its aliases are expanded.`);
  };

  function convert(node: unknown): Sized {
    if (isAlias(node)) {
      const anchor = anchors.get(node.source);
      if (!anchor)
        return fail(spanOf(node), 'alias-unknown', `\`*${node.source}\` has no anchor \`&${node.source}\` before it.`);
      targets.set(node, anchor.node);
      if (!anchor.done)
        return fail(spanOf(node), 'alias-recursive', `\`*${node.source}\` stands inside of what it names.`);
      spend(anchor.done.size, node);
      return anchor.done;
    }
    spend(1, node);
    const anchor = (node as (Node & { anchor?: string }) | null)?.anchor;
    const entry: { node: Node; done?: Sized } | undefined = anchor ? { node: node as Node } : undefined;
    if (anchor && entry) anchors.set(anchor, entry);
    const converted = isMap(node) ? convertMap(node) : isSeq(node) ? convertSeq(node) : leaf(scalarValue(node));
    if (converted.depth > MAX_DEPTH)
      fail(spanOf(node), 'too-deep', `Values are nested more than ${MAX_DEPTH} levels deep.`);
    if (entry) entry.done = converted;
    return converted;
  }

  function convertSeq(node: YAMLSeq): Sized {
    const start = total;
    const items = node.items.map(convert);
    return { value: items.map(({ value }) => value), size: total - start + 1, depth: deepest(items) + 1 };
  }

  function convertMap(node: YAMLMap): Sized {
    const start = total;
    const result: Record<string, unknown> = {};
    const children: Sized[] = [];
    const merges: unknown[] = [];
    for (const pair of node.items) {
      if (isMergeKey(pair.key)) {
        merges.push(pair.value);
        continue;
      }
      const key = readKey(pair.key, result);
      const child = convert(pair.value);
      children.push(child);
      if (key !== undefined) result[key] = child.value;
    }
    for (const merge of merges) children.push(...mergeInto(result, merge));
    return { value: result, size: total - start + 1, depth: deepest(children) + 1 };
  }

  function readKey(key: unknown, taken: Record<string, unknown>): string | undefined {
    const text = keyText(isAlias(key) ? undefined : key);
    const anchor = isScalar(key) ? key.anchor : undefined;
    if (anchor && isScalar(key)) anchors.set(anchor, { node: key, done: leaf(scalarValue(key)) });
    if (text === undefined) report(spanOf(key), 'key-not-text', 'A key must be text.');
    else if (text === '__proto__') report(spanOf(key), 'key-forbidden', '`__proto__` cannot be a key.');
    else if (Object.hasOwn(taken, text)) report(spanOf(key), 'duplicate-key', `\`${text}\` stands twice in this map.`);
    else return text;
    return undefined;
  }

  /** Keys that the map has itself win; of several merged maps the first one wins. */
  function mergeInto(result: Record<string, unknown>, merge: unknown): Sized[] {
    const list = isSeq(merge) ? merge.items : [merge];
    return list.map((item) => {
      const converted = convert(item);
      if (!isPlainObject(converted.value)) {
        report(spanOf(item), 'merge-not-map', '`<<` takes a map or a list of maps, normally an alias such as `*base`.');
        return converted;
      }
      for (const [key, value] of Object.entries(converted.value)) if (!Object.hasOwn(result, key)) result[key] = value;
      return converted;
    });
  }

  try {
    return { value: convert(contents).value, targets };
  } catch (error) {
    if (!(error instanceof Stop)) throw error;
    return { value: undefined, targets };
  }
}

export function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function leaf(value: unknown): Sized {
  return { value, size: 1, depth: 0 };
}

function deepest(children: Sized[]): number {
  return children.reduce((most, { depth }) => Math.max(most, depth), 0);
}

/**
 * A number is a number only when it prints as it was written: `3.10`, `007`, `1e3` and `0x1F` stay the text that the
 * author sees, so that a matrix of versions means what it says. The same for `True`.
 */
function scalarValue(node: unknown): unknown {
  if (!isScalar(node)) return null;
  const { value, source, tag } = node;
  // `branch: !main` has been reported as a tag; what was meant is the text.
  if (value === '' && tag?.startsWith('!')) return tag;
  if (typeof value === 'number' || typeof value === 'boolean')
    return String(value) === source ? value : (source ?? value);
  return value;
}
