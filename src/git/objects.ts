/** What git keeps, as its own bytes: answers of `cat-file --batch`, commits, trees. Pure. */
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

/** Answers in the order of the questions; undefined for what does not exist. */
export function parseBatch(output: Buffer): (GitObject | undefined)[] {
  const found: (GitObject | undefined)[] = [];
  let at = 0;
  while (at < output.length) {
    const end = output.indexOf(0x0a, at);
    if (end < 0) throw new ImpGemError('git-answer-cut', 'git cat-file gave half an answer');
    const header = /^([0-9a-f]{40,64}) (\w+) (\d+)$/.exec(output.toString('utf8', at, end));
    at = end + 1;
    if (!header) {
      found.push(undefined);
      continue;
    }
    const [, id = '', type = '', size = ''] = header;
    found.push({ id, type, bytes: output.subarray(at, at + Number(size)) });
    at += Number(size) + 1;
  }
  return found;
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
