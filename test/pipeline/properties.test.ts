import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { findWarnings } from '../../src/pipeline/find-warnings.ts';
import { planPipeline } from '../../src/pipeline/plan-pipeline.ts';
import { firstLine, renderDiagnostics } from '../../src/pipeline/render-diagnostics.ts';
import type { PipelineSource } from '../../src/pipeline/schema.ts';
import { pipelineEvent } from '../support/pipeline-event.ts';
import { planText } from './plan-text.ts';
import { pipelineSources } from './pipeline-sources.ts';

const fixtures = resolve(import.meta.dirname, '../fixtures/pipelines');
const corpus = join(fixtures, 'corpus');
const texts = readdirSync(fixtures)
  .filter((name) => name.endsWith('.yml'))
  .map((name) => readFileSync(join(fixtures, name), 'utf8'));

/** A plan without errors, or errors without a plan; and everything that is done with them works. */
function expectAnswer(text: string): void {
  const { pipeline, plan, diagnostics } = planText(text, { changedPaths: ['src/a.ts'] });
  const errors = diagnostics.filter(({ severity }) => severity === 'error');
  expect(plan === undefined).toBe(errors.length > 0);
  for (const { line, column } of diagnostics) expect([line >= 1, column >= 1]).toEqual([true, true]);
  expect(renderDiagnostics(diagnostics, { '.impgem.yml': text })).toBeTypeOf('string');
  expect(firstLine(diagnostics).length).toBeLessThanOrEqual(140);
  if (pipeline) expect(findWarnings(pipeline)).toBeInstanceOf(Array);
}

describe('any text gives a plan or diagnostics', () => {
  test('characters', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 300 }), expectAnswer), { numRuns: 500 });
  });

  test('pieces of the language in any order', () => {
    const piece = fc.constantFrom(
      ...['steps', 'jobs', 'run', 'needs', 'matrix', 'when', 'env', 'if', 'image', 'include', 'cache', 'key', 'paths'],
      ...[
        ':',
        ': ',
        '- ',
        '\n',
        '\n  ',
        '\n    ',
        '[',
        ']',
        '{',
        '}',
        ', ',
        '&a ',
        '*a',
        '<<',
        '|\n',
        '"',
        "'",
        '#',
        '!x ',
        '---\n',
      ],
      ...['${{ ', ' }}', 'matrix.a', '1', 'true', '~', 'x', '\t', '%', '? ', '10m', '**'],
    );
    const text = fc.array(piece, { maxLength: 60 }).map((pieces) => pieces.join(''));
    fc.assert(fc.property(text, expectAnswer), { numRuns: 2000 });
  });

  test('fixtures with something cut out, put in or said twice', () => {
    const edit = fc.record({
      at: fc.nat(1000),
      length: fc.nat(12),
      put: fc.constantFrom('', ' ', '\n', ':', '- ', '"', '[', '}', '&a ', '*a ', 'x', '\t'),
    });
    const text = fc
      .tuple(fc.constantFrom(...texts), fc.array(edit, { minLength: 1, maxLength: 4 }))
      .map(([given, edits]) =>
        edits.reduce((result, { at, length, put }) => {
          const start = result.length === 0 ? 0 : at % result.length;
          return result.slice(0, start) + put + result.slice(start + length);
        }, given),
      );
    fc.assert(fc.property(text, expectAnswer), { numRuns: 1000 });
  });

  test.each(readdirSync(corpus))('what a fuzzer has found: %s', (name) => {
    expectAnswer(readFileSync(join(corpus, name), 'utf8'));
  });
});

describe('printing', () => {
  const event = fc.constantFrom(
    pipelineEvent({ branch: 'main' }),
    pipelineEvent({ kind: 'tag', tag: 'v1' }),
    pipelineEvent({ branch: 'release/1', message: "it's ${{ event.author }}" }),
  );
  const plan = (source: PipelineSource, given: ReturnType<typeof pipelineEvent>) =>
    planPipeline(
      {
        name: source.name ?? '',
        file: '.impgem.yml',
        source,
        diagnose: () => expect.fail('no mistakes are made here'),
      },
      { event: given, changedPaths: ['src/a.ts'], defaults: { jobTimeoutMs: 1000 } },
    ).plan;

  test('plan(parse(print(p))) is plan(p)', () => {
    fc.assert(
      fc.property(pipelineSources(), event, fc.boolean(), (source, given, flow) => {
        const text = stringify(source, { collectionStyle: flow ? 'flow' : 'any', aliasDuplicateObjects: true });
        const printed = planText(text, { event: given, changedPaths: ['src/a.ts'], defaults: { jobTimeoutMs: 1000 } });
        expect(printed.diagnostics).toEqual([]);
        expect(printed.plan).toEqual(plan(source, given));
      }),
      { numRuns: 300 },
    );
  });

  test('a plan has unique ids, and needs that are in it', () => {
    fc.assert(
      fc.property(pipelineSources(), event, (source, given) => {
        const jobs = plan(source, given)?.jobs ?? [];
        const ids = jobs.map(({ id }) => id);
        expect(new Set(ids).size).toBe(ids.length);
        expect(new Set(jobs.map(({ name }) => name)).size).toBe(ids.length);
        for (const id of ids) expect(id).toMatch(/^[A-Za-z0-9_-]{1,100}$/);
        for (const job of jobs) {
          for (const need of job.needs) expect(ids).toContain(need.job);
          expect(new Set(job.steps.map(({ name }) => name)).size).toBe(job.steps.length);
        }
      }),
      { numRuns: 300 },
    );
  });
});
