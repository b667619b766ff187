/**
 * YAML nodes to plain JSON values, by hand: the size that aliases expand to is counted before anything walks it,
 * duplicates are found in linear time, and no key can reach a prototype.
 */
import { type Alias, isAlias, isMap, isScalar, isSeq, type Node, type YAMLMap, type YAMLSeq } from 'yaml';
import { isMergeKey, isNothing, keyText, type Span, spanOf } from './yaml-source.ts';

/** Values after aliases are expanded. A pipeline of 2,000 lines has about 5,000. */
const MAX_VALUES = 50_000;
const MAX_DEPTH = 50;

export type Report = (span: Span, code: string, message: string, hint?: string) => void;

export interface Converted {
  value: unknown;
  /** What each alias stands for. */
  targets: Map<unknown, Node>;
}

/** What an anchor names. */
interface Anchored {
  node: Node;
  /** Once it is read to its end. */
  done?: { value: unknown; size: number; depth: number };
}

/** Ends the conversion: what follows would only be more of it. */
class Stop extends Error {}

/** Gives undefined as value when the file is too large to go on. */
export function convertYaml(contents: unknown, report: Report): Converted {
  const targets = new Map<unknown, Node>();
  const anchors = new Map<string, Anchored>();
  let total = 0;
  /** Levels below what was converted last. */
  let depth = 0;

  const fail = (span: Span, code: string, message: string): never => {
    report(span, code, message);
    throw new Stop();
  };
  const spend = (amount: number, node: unknown): void => {
    total += amount;
    if (total > MAX_VALUES)
      fail(spanOf(node), 'too-large', `The file has more than ${MAX_VALUES} values once its aliases are expanded.`);
  };

  function convert(node: unknown): unknown {
    if (isAlias(node)) return convertAlias(node);
    const start = total;
    spend(1, node);
    const anchor = (node as (Node & { anchor?: string }) | null)?.anchor;
    const entry: Anchored | undefined = anchor ? { node: node as Node } : undefined;
    if (anchor && entry) anchors.set(anchor, entry);
    const value = convertNode(node);
    if (depth > MAX_DEPTH) fail(spanOf(node), 'too-deep', `Values are nested more than ${MAX_DEPTH} levels deep.`);
    if (entry) entry.done = { value, size: total - start, depth };
    return value;
  }

  function convertAlias(node: Alias): unknown {
    const anchor = anchors.get(node.source);
    if (!anchor)
      return fail(spanOf(node), 'alias-unknown', `\`*${node.source}\` has no anchor \`&${node.source}\` before it.`);
    targets.set(node, anchor.node);
    if (!anchor.done)
      return fail(spanOf(node), 'alias-recursive', `\`*${node.source}\` stands inside of what it names.`);
    spend(anchor.done.size, node);
    ({ depth } = anchor.done);
    return anchor.done.value;
  }

  function convertNode(node: unknown): unknown {
    if (isMap(node)) return convertMap(node);
    if (isSeq(node)) return convertSeq(node);
    depth = 0;
    return scalarValue(node);
  }

  function convertSeq(node: YAMLSeq): unknown[] {
    let deepest = 0;
    const result = node.items.map((item) => {
      const value = convert(item);
      deepest = Math.max(deepest, depth);
      return value;
    });
    depth = deepest + 1;
    return result;
  }

  function convertMap(node: YAMLMap): Record<string, unknown> {
    const result: Record<string, unknown> = {};
    const merges: unknown[] = [];
    let deepest = 0;
    for (const pair of node.items) {
      if (isMergeKey(pair.key)) {
        merges.push(pair.value);
        continue;
      }
      const key = readKey(pair.key, result);
      const value = convert(pair.value);
      deepest = Math.max(deepest, depth);
      if (key !== undefined) result[key] = value;
    }
    for (const merge of merges)
      for (const item of isSeq(merge) ? merge.items : [merge]) {
        mergeInto(result, item);
        deepest = Math.max(deepest, depth);
      }
    depth = deepest + 1;
    return result;
  }

  function readKey(key: unknown, taken: Record<string, unknown>): string | undefined {
    const text = keyText(isAlias(key) ? undefined : key);
    const anchor = isScalar(key) ? key.anchor : undefined;
    if (anchor && isScalar(key))
      anchors.set(anchor, { node: key, done: { value: scalarValue(key), size: 1, depth: 0 } });
    if (text === undefined) report(spanOf(key), 'key-not-text', 'A key must be text.');
    else if (text === '__proto__') report(spanOf(key), 'key-forbidden', '`__proto__` cannot be a key.');
    else if (Object.hasOwn(taken, text)) report(spanOf(key), 'duplicate-key', `\`${text}\` stands twice in this map.`);
    else return text;
    return undefined;
  }

  /** Keys that the map has itself win; of several merged maps the first one wins. */
  function mergeInto(result: Record<string, unknown>, item: unknown): void {
    const value = convert(item);
    if (!isPlainObject(value))
      report(spanOf(item), 'merge-not-map', '`<<` takes a map or a list of maps, normally an alias such as `*base`.');
    else for (const [key, own] of Object.entries(value)) if (!Object.hasOwn(result, key)) result[key] = own;
  }

  try {
    return { value: convert(contents), targets };
  } catch (error) {
    if (!(error instanceof Stop)) throw error;
    return { value: undefined, targets };
  }
}

export function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const NUMBER = /^-?[0-9]/;

/**
 * A number is a number only when it prints as it was written: `3.10`, `007`, `1e3` and `0x1F` stay the text that the
 * author sees, so that a matrix of versions means what it says. The same for `True`.
 */
function scalarValue(node: unknown): unknown {
  if (!isScalar(node)) return null;
  const { value, type, tag } = node;
  // `branch: !main` has been reported as a tag; what was meant is the text.
  if (value === '' && tag?.startsWith('!')) return tag;
  if (type !== 'PLAIN' || tag !== undefined || typeof value !== 'string') return value;
  if (value === 'true' || value === 'false') return value === 'true';
  if (NUMBER.test(value) && String(Number(value)) === value) return Number(value);
  return isNothing(node) ? null : value;
}
