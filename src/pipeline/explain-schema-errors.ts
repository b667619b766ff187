/**
 * What ajv says, as sentences about this language. Each branch of a union in the schema takes another JSON type (a
 * test holds that), so the branch that was meant is known from the value, and only its errors are told.
 */
import type { ErrorObject } from 'ajv';
import { nearest } from '../config/nearest.ts';
import { MAX_DIAGNOSTICS } from './diagnostic.ts';
import { foreignKeyHint } from './foreign-keys.ts';
import type { Path } from './yaml-source.ts';

export interface SchemaProblem {
  path: Path;
  /** The key is meant, not its value. */
  key: boolean;
  code: string;
  message: string;
  hint?: string;
  /** The known key that an unknown one was probably meant to be. */
  meant?: string;
  /** The key that is missing. */
  missing?: string;
}

interface SchemaNode {
  type?: string;
  anyOf?: SchemaNode[];
  $ref?: string;
  title?: string;
  $comment?: string;
  properties?: Record<string, unknown>;
  definitions?: Record<string, SchemaNode>;
  minimum?: number;
  maximum?: number;
}

export function explainSchemaErrors(errors: readonly ErrorObject[], root: object, value: unknown): SchemaProblem[] {
  const definitions = (root as SchemaNode).definitions ?? {};
  const unions = new Map<string, Set<string>>();
  const useful = errors.filter(({ propertyName }) => propertyName === undefined);
  for (const error of useful)
    if (error.keyword === 'anyOf')
      unions.set(error.instancePath, typesOf(error.parentSchema as SchemaNode, definitions));
  const problems: SchemaProblem[] = [];
  const told = new Set<string>();
  for (const error of useful) {
    const kind = kindOf(error.data);
    const union = unions.get(error.instancePath);
    if (union && error.keyword === 'anyOf' && union.has(kind)) continue;
    if (union && error.keyword === 'type' && !(union.has(kind) && sameKind(error, kind))) continue;
    const problem = explain(error, parsePointer(error.instancePath, value));
    const id = `${error.instancePath} ${problem.code} ${problem.message}`;
    if (told.has(id)) continue;
    told.add(id);
    problems.push(problem);
    if (problems.length >= MAX_DIAGNOSTICS) break;
  }
  return problems;
}

function sameKind(error: ErrorObject, kind: string): boolean {
  return kindOfType(String((error.params as { type?: unknown }).type)) === kind;
}

function kindOf(value: unknown): string {
  return value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value;
}

function kindOfType(type: string): string {
  return type === 'integer' ? 'number' : type;
}

function typesOf(schema: SchemaNode, definitions: Record<string, SchemaNode>): Set<string> {
  const target = schema.$ref ? (definitions[schema.$ref.replace('#/definitions/', '')] ?? {}) : schema;
  if (target.anyOf) return new Set(target.anyOf.flatMap((branch) => [...typesOf(branch, definitions)]));
  return new Set([kindOfType(target.type ?? 'string')]);
}

function explain(error: ErrorObject, path: Path): SchemaProblem {
  const schema = error.parentSchema as SchemaNode;
  const params = error.params as Record<string, unknown>;
  const what = label(path);
  const at = { path, key: false };
  switch (error.keyword) {
    case 'additionalProperties':
      return unknownKey(path, String(params['additionalProperty']), schema);
    case 'propertyNames': {
      const name = String(params['propertyName']);
      const expected = (error.schema as SchemaNode).$comment ?? 'another name';
      return {
        path: [...path, name],
        key: true,
        code: 'key-invalid',
        message: `\`${cut(name)}\` must be ${expected}.`,
      };
    }
    case 'required': {
      const missing = String(params['missingProperty']);
      return {
        ...at,
        code: 'key-missing',
        missing,
        message: `${schema.title ?? what} needs \`${missing}\`.`.replace(/^./, upper),
      };
    }
    case 'minItems':
    case 'minProperties':
      return { ...at, code: 'empty', message: `${what} must not be empty.` };
    case 'maxItems':
    case 'maxProperties':
      return { ...at, code: 'too-many', message: `${what} has more than ${String(params['limit'])} entries.` };
    case 'maxLength':
      return { ...at, code: 'too-long', message: `${what} is longer than ${String(params['limit'])} characters.` };
    case 'enum': {
      const near = nearest(String(error.data), (params['allowedValues'] as unknown[]).map(String));
      return {
        ...at,
        code: 'value-unknown',
        message: `${what} must be ${schema.$comment ?? 'another value'}${notThis(error.data)}.`,
        ...(near === undefined ? {} : { hint: `Did you mean \`${near}\`?` }),
      };
    }
    case 'type':
    case 'anyOf':
      return { ...at, code: 'wrong-type', message: `${what} must be ${expectedOf(schema)}${notThis(error.data)}.` };
    default:
      return { ...at, code: 'value-invalid', message: `${what} must be ${expectedOf(schema)}${notThis(error.data)}.` };
  }
}

const upper = (letter: string): string => letter.toUpperCase();

function unknownKey(path: Path, key: string, schema: SchemaNode): SchemaProblem {
  const known = Object.keys(schema.properties ?? {});
  const near = nearest(key.toLowerCase().replaceAll('_', '-'), known);
  const hint = near === undefined ? foreignKeyHint(key) : `Did you mean \`${near}\`?`;
  const owner = schema.title ?? label(path);
  return {
    path: [...path, key],
    key: true,
    code: 'unknown-key',
    message: `\`${cut(key)}\` is not a key of ${owner}.`,
    hint: hint ?? `Known keys: ${known.join(', ')}.`,
    ...(near === undefined ? {} : { meant: near }),
  };
}

function expectedOf(schema: SchemaNode): string {
  if (schema.$comment) return schema.$comment;
  const { minimum, maximum } = schema;
  const range = minimum !== undefined && maximum !== undefined ? ` from ${minimum} to ${maximum}` : '';
  const names: Record<string, string> = {
    object: 'a map',
    array: 'a list',
    string: 'text',
    number: `a number${range}`,
    integer: `a whole number${range}`,
    boolean: 'true or false',
  };
  return names[schema.type ?? ''] ?? 'another value';
}

function notThis(value: unknown): string {
  const kind = kindOf(value);
  if (kind === 'null') return '; it is empty';
  if (kind === 'array') return ', not a list';
  if (kind === 'object') return ', not a map';
  return `, not \`${cut(String(value))}\``;
}

function cut(text: string): string {
  return text.length > 60 ? `${text.slice(0, 59)}…` : text;
}

/** `timeout`, or the second entry of `needs`. */
function label(path: Path): string {
  const last = path.at(-1);
  if (last === undefined) return 'The pipeline';
  if (typeof last === 'string') return `\`${cut(last)}\``;
  return `Entry ${last + 1} of \`${String(path.at(-2) ?? '')}\``;
}

function parsePointer(pointer: string, value: unknown): Path {
  const path: (string | number)[] = [];
  let container = value;
  for (const part of pointer.split('/').slice(1)) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~');
    path.push(Array.isArray(container) ? Number(key) : key);
    container = (container as Record<string, unknown> | undefined)?.[key];
  }
  return path;
}
