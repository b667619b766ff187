import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Validator, type Schema } from '@cfworker/json-schema';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { CHAPTERS } from '../../src/pipeline/docs-link.ts';
import { PipelineSchema } from '../../src/pipeline/schema.ts';
import { findWarnings } from '../../src/pipeline/find-warnings.ts';
import { loadPipeline } from '../../src/pipeline/find-pipelines.ts';
import { pipelineSchemaText } from '../../src/pipeline/write-schemas.ts';

const read = (name: string) => readFile(resolve(import.meta.dirname, '../../docs', name), 'utf8');
const page = await read('pipeline.md');
const migrate = await read('migrate.md');

/** Blocks marked `yaml`: complete pipelines of ours. Other systems' files are marked `yml`. */
const blocks = (text: string) => [...text.matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].map(([, block = '']) => block);
const examples = [...blocks(page), ...blocks(migrate)];
const validator = new Validator(JSON.parse(pipelineSchemaText()) as Schema, '7');

describe('examples of the docs', () => {
  // A block whose first line is a comment with a path is the file of that path.
  const files = Object.fromEntries(examples.map((text) => [/^# (\S+[.]yml)$/m.exec(text)?.[1] ?? '', text]));
  const reader = { list: () => Promise.resolve([]), read: (path: string) => Promise.resolve(files[path]) };

  test.each(examples)('%s', async (text) => {
    const { pipeline, diagnostics } = await loadPipeline('docs', text, reader);
    expect(diagnostics).toEqual([]);
    expect(pipeline && findWarnings(pipeline)).toEqual([]);
    expect(validator.validate(parse(text, { merge: true })).errors).toEqual([]);
  });
});

describe('docs/pipeline.md', () => {
  const headings = [...page.matchAll(/^## (.+)$/gm)].map(([, heading]) => heading);

  test.each([...CHAPTERS])('has a chapter %s with an example of it', (key) => {
    expect(headings).toContain(key);
    const chapter = page.split(`\n## ${key}\n`)[1]?.split('\n## ')[0] ?? '';
    expect(chapter).toMatch(new RegExp(`\`\`\`yaml[^\`]*\\b${key}:`));
  });

  test('every key of the language stands in an example', () => {
    const missing = [...keysOf(JSON.parse(JSON.stringify(PipelineSchema)))].filter(
      (key) => !new RegExp(`(^|[\\s{,-])${key}:`, 'm').test(blocks(page).join('\n')),
    );
    expect(missing).toEqual([]);
  });
});

test('links between the pages lead somewhere', () => {
  for (const text of [page, migrate])
    for (const [, anchor = ''] of text.matchAll(/\]\((?:pipeline\.md)?#([^)]+)\)/g))
      expect(
        [...page.matchAll(/^## (.+)$/gm)].map(([, heading = '']) => heading.toLowerCase().replaceAll(' ', '-')),
      ).toContain(anchor);
});

function* keysOf(node: unknown): Generator<string> {
  if (typeof node !== 'object' || node === null) return;
  const { properties } = node as { properties?: Record<string, unknown> };
  if (properties && !Array.isArray(properties)) yield* Object.keys(properties);
  for (const child of Object.values(node)) yield* keysOf(child);
}
