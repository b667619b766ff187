/** Reads the fields of a delivery's body; what is missing or of the wrong kind is an InputError that names the field. */
import { InputError } from '../errors.ts';
import { type ForgeName, parseRepository } from '../runs/event.ts';
import { isBranchName, isObjectId, isRefName, isZeroId } from './ref-name.ts';

export type Fields = Record<string, unknown>;

/** Characters of a message or title that are kept. */
const LONGEST_TEXT = 16_384;
const LONGEST_LINE = 255;

export function parseBody(body: Buffer): Fields {
  let value: unknown;
  try {
    value = JSON.parse(body.toString('utf8'));
  } catch (error) {
    throw new InputError('body-not-json', 'The body is not JSON', { cause: error });
  }
  if (!isFields(value)) throw new InputError('payload-invalid', 'The body is not a JSON object');
  return value;
}

/** The object at a path (`pull_request.head.repo`). */
export function objectAt(body: Fields, path: string): Fields {
  const value = valueAt(body, path);
  return isFields(value) ? value : refuse(path, 'must be an object', value);
}

function stringAt(body: Fields, path: string): string {
  const value = valueAt(body, path);
  return typeof value === 'string' ? value : refuse(path, 'must be a string', value);
}

/** Text to show: absent or null is empty, a NUL (which no environment can hold) is dropped, what is too long is cut. */
export function textAt(body: Fields, path: string): string {
  const value = valueAt(body, path);
  if (value === undefined || value === null) return '';
  return asText(stringAt(body, path));
}

/** One line to show: control characters become spaces. */
export function lineAt(body: Fields, path: string): string {
  return asLine(textAt(body, path));
}

/** As `textAt` gives it. */
export function asText(text: string): string {
  return text.replaceAll('\0', '').slice(0, LONGEST_TEXT);
}

/** As `lineAt` gives it. */
export function asLine(text: string): string {
  return asText(text)
    .replace(/\p{Cc}/gu, ' ')
    .slice(0, LONGEST_LINE);
}

export function positiveIntegerAt(body: Fields, path: string): number {
  const value = valueAt(body, path);
  return Number.isSafeInteger(value) && Number(value) > 0
    ? Number(value)
    : refuse(path, 'must be a positive integer', value);
}

/** `forge/owner/name` from a field that holds `owner/name`. */
export function repositoryAt(body: Fields, path: string, forge: ForgeName): string {
  const name = stringAt(body, path);
  const repository = `${forge}/${name}`;
  return parseRepository(repository) ? repository : refuse(path, 'must be owner/name', name);
}

export function refAt(body: Fields, path: string): string {
  const ref = stringAt(body, path);
  return isRefName(ref) ? ref : refuse(path, 'must be a full reference such as refs/heads/main', ref);
}

export function branchAt(body: Fields, path: string): string {
  const branch = stringAt(body, path);
  return isBranchName(branch) ? branch : refuse(path, 'must be the name of a branch', branch);
}

/** A full hex object id; undefined when it is all zeros. */
export function objectIdAt(body: Fields, path: string): string | undefined {
  const id = stringAt(body, path);
  if (isZeroId(id) && (id.length === 40 || id.length === 64)) return undefined;
  return isObjectId(id) ? id : refuse(path, 'must be a full hex object id', id);
}

/** Undefined when the path leads nowhere. */
export function valueAt(body: Fields, path: string): unknown {
  let value: unknown = body;
  for (const key of path.split('.')) {
    if (!isFields(value) || !Object.hasOwn(value, key)) return undefined;
    value = value[key];
  }
  return value;
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function refuse(path: string, problem: string, value: unknown): never {
  const shown = value === undefined ? 'is missing' : `is ${shortly(value)}`;
  throw new InputError('payload-invalid', `${path}: ${problem} (${shown})`);
}

/** Never an object or a list as a whole: it may be deeper than JSON.stringify goes. */
function shortly(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' && value !== null ? 'an object' : JSON.stringify(value).slice(0, 80);
}
