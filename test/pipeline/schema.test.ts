import { readdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type Schema, Validator } from '@cfworker/json-schema';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { parsePipeline } from '../../src/pipeline/parse.ts';
import { PipelineSchema } from '../../src/pipeline/schema.ts';
import { pipelineSchemaText, writeSchemas } from '../../src/pipeline/write-schemas.ts';

const root = resolve(import.meta.dirname, '../..');
/** Another implementation than the one that the product uses. */
const validator = new Validator(JSON.parse(pipelineSchemaText()) as Schema, '7', false);
const isValid = (text: string) => validator.validate(parse(text, { merge: true })).valid;

interface Node {
  type?: string;
  [key: string]: unknown;
  properties?: Record<string, Node>;
}

// `UPDATE_SCHEMAS=1 npx vitest run test/pipeline/schema.test.ts` writes it.
test('schemas/pipeline.json is what the code says', async () => {
  if (process.env['UPDATE_SCHEMAS'] === '1') await writeSchemas(join(root, 'schemas'));
  expect(await readFile(join(root, 'schemas/pipeline.json'), 'utf8')).toBe(pipelineSchemaText());
});

describe('every key', () => {
  const keys = [...keysOf(JSON.parse(JSON.stringify(PipelineSchema)) as Node, [])];

  test('there are all that the language has', () => {
    expect(keys.length).toBeGreaterThan(60);
  });

  test.each(keys)('%s has a description and an example that is valid', (_, node) => {
    expect(node['description']).toMatch(/\S[.]$/);
    expect(node['examples']).toBeInstanceOf(Array);
    const { definitions } = PipelineSchema as unknown as Node;
    const own = new Validator({ ...node, definitions } as Schema, '7', false);
    for (const example of node['examples'] as unknown[])
      expect([example, own.validate(example).valid]).toEqual([example, true]);
  });
});

test('the branches of every union take different types, so that the one that was meant is known', () => {
  for (const union of unionsOf(JSON.parse(JSON.stringify(PipelineSchema)) as Node)) {
    const types = (union['anyOf'] as Node[]).flatMap(typesOf).map((type) => (type === 'integer' ? 'number' : type));
    expect([union['$comment'], types.length]).toEqual([union['$comment'], new Set(types).size]);
    expect(union['$comment']).toBeTypeOf('string');
  }
});

describe('both validators agree', async () => {
  const fixtures = resolve(root, 'test/fixtures/pipelines');
  const planned: string[] = [];
  for (const name of (await readdir(fixtures)).filter((one) => one.endsWith('.yml'))) {
    const { cases } = JSON.parse(await readFile(join(fixtures, name.replace('.yml', '.json')), 'utf8')) as {
      cases: { plan?: unknown }[];
    };
    if (cases.every(({ plan }) => plan !== undefined)) planned.push(name);
  }
  test.each(planned)('%s is valid', async (name) => {
    expect(isValid(await readFile(join(fixtures, name), 'utf8'))).toBe(true);
  });

  test.each([
    'imge: x',
    'steps: []',
    'steps: [{ run: 3 }]',
    'jobs: { a: {} }',
    'steps: [{ run: x, timeout: 10 }]',
    'env: [a]\nsteps: [{ run: x }]',
  ])('%s is not', (text) => {
    expect(isValid(text)).toBe(false);
    expect(parsePipeline(text, 'f').pipeline).toBeUndefined();
  });
});

describe('examples', async () => {
  const files = (await readdir(join(root, 'examples'), { recursive: true })).filter((name) =>
    /(^|\/)\.impgem(\/[^/]+)?\.ya?ml$/.test(name),
  );
  test.each(files)('%s is valid for both and names its schema', async (name) => {
    const text = await readFile(join(root, 'examples', name), 'utf8');
    expect(isValid(text)).toBe(true);
    expect(parsePipeline(text, name).diagnostics).toEqual([]);
    expect(text).toMatch(/^# yaml-language-server: \$schema=\S*schemas\/pipeline\.json$/m);
  });
});

function* keysOf(node: Node, path: string[]): Generator<[string, Node]> {
  for (const [key, property] of Object.entries(node.properties ?? {})) {
    yield [[...path, key].join('.'), property];
    yield* keysOf(property, [...path, key]);
  }
  for (const key of ['items', 'additionalProperties'] as const) if (isNode(node[key])) yield* keysOf(node[key], path);
  for (const branch of (node['anyOf'] ?? []) as Node[]) yield* keysOf(branch, path);
  for (const [name, one] of Object.entries((node['definitions'] ?? {}) as Record<string, Node>))
    yield* keysOf(one, [name]);
}

function* unionsOf(node: unknown): Generator<Node> {
  if (typeof node !== 'object' || node === null) return;
  if (Array.isArray((node as Node)['anyOf'])) yield node as Node;
  for (const child of Object.values(node)) yield* unionsOf(child);
}

function typesOf(node: Node): string[] {
  if (Array.isArray(node['anyOf'])) return (node['anyOf'] as Node[]).flatMap(typesOf);
  return [node.type ?? 'string'];
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null;
}
