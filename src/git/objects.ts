/** What git keeps, as its own bytes: answers of `cat-file --batch`, commits, trees. */
import { ImpGemError } from '../errors.ts';

export interface GitObject {
  id: string;
  type: string;
  bytes: Buffer;
}

export interface Commit {
  /** Peeled: a commit also when a tag was asked for. */
  sha: string;
  /** At most LONGEST_MESSAGE characters. */
  message: string;
  author: string;
  authorEmail: string;
  parents: string[];
}

export interface TreeEntry {
  name: string;
  kind: 'file' | 'folder' | 'link' | 'submodule';
}

const LONGEST_MESSAGE = 16_384;
const HEADER = /^([0-9a-f]{40,64}) (\w+) (\d+)$/;

export interface BatchAnswers {
  /** Takes what came. True once every answer is there. ImpGemError `git-output-too-large` past the limit. */
  push(chunk: Buffer): boolean;
  /** In the order of the questions; undefined for what does not exist. */
  readonly found: readonly (GitObject | undefined)[];
}

/** Answers to `count` questions, from pieces of any size. `maxBytes` of all objects together. */
export function createBatchAnswers(count: number, maxBytes: number): BatchAnswers {
  const found: (GitObject | undefined)[] = [];
  let pieces: Buffer[] = [];
  let have = 0;
  /** Without so many bytes there is nothing to do. */
  let need = 1;
  let total = 0;
  let object: { id: string; type: string; size: number } | undefined;

  const take = (bytes: Buffer): Buffer => {
    if (object) {
      const { id, type, size } = object;
      object = undefined;
      need = 1;
      found.push({ id, type, bytes: bytes.subarray(0, size) });
      return bytes.subarray(size + 1);
    }
    const end = bytes.indexOf(0x0a);
    if (end < 0) {
      need = bytes.length + 1;
      return bytes;
    }
    const [, id = '', type = '', size] = HEADER.exec(bytes.toString('utf8', 0, end)) ?? [];
    if (size === undefined) found.push(undefined);
    else {
      object = { id, type, size: Number(size) };
      total += object.size;
      if (total > maxBytes)
        throw new ImpGemError('git-output-too-large', `git cat-file gave more than ${maxBytes} bytes`);
    }
    need = object ? object.size + 1 : 1;
    return bytes.subarray(end + 1);
  };

  return {
    found,
    push(chunk) {
      pieces.push(chunk);
      have += chunk.length;
      while (found.length < count && have >= need) {
        const rest = take(Buffer.concat(pieces));
        pieces = [rest];
        have = rest.length;
      }
      return found.length === count;
    },
  };
}

export function parseCommit(object: GitObject): Commit {
  const text = object.bytes.toString('utf8');
  const split = text.indexOf('\n\n');
  const head = split < 0 ? text : text.slice(0, split);
  // Greedy up to the last `<`: a name may hold anything.
  const [, author = '', authorEmail = ''] = /^author (.*) <([^<>\n]*)> /m.exec(head) ?? [];
  return {
    sha: object.id,
    message: split < 0 ? '' : text.slice(split + 2).slice(0, LONGEST_MESSAGE),
    author,
    authorEmail,
    parents: Array.from(head.matchAll(/^parent ([0-9a-f]+)$/gm), (match) => match[1] ?? ''),
  };
}

export function parseTree(object: GitObject): TreeEntry[] {
  const idBytes = object.id.length / 2;
  const entries: TreeEntry[] = [];
  let at = 0;
  while (at < object.bytes.length) {
    const space = object.bytes.indexOf(0x20, at);
    const end = object.bytes.indexOf(0, space);
    const mode = object.bytes.toString('latin1', at, space);
    entries.push({ name: object.bytes.toString('utf8', space + 1, end), kind: kindOf(mode) });
    at = end + 1 + idBytes;
  }
  return entries;
}

function kindOf(mode: string): TreeEntry['kind'] {
  if (mode === '40000') return 'folder';
  if (mode === '120000') return 'link';
  return mode === '160000' ? 'submodule' : 'file';
}
