/**
 * test/fixtures/pipelines/NN_name.yml with, in NN_name.json, the events it is planned for and the plan or the
 * diagnostics that must come of it. What has its default value is left out of the plans (short-plan.ts).
 * `UPDATE_FIXTURES=1 npx vitest run test/pipeline/fixtures.test.ts` writes what comes out now: read the diff.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type FileReader, loadPipeline } from '../../src/pipeline/find-pipelines.ts';
import { planPipeline } from '../../src/pipeline/plan-pipeline.ts';
import type { Diagnostic } from '../../src/pipeline/diagnostic.ts';
import type { PipelineEvent } from '../../src/runs/event.ts';
import { pipelineEvent } from '../support/pipeline-event.ts';
import { DEFAULT_TIMEOUT, shortPlan } from './short-plan.ts';

interface Fixture {
  cases: { event: Partial<PipelineEvent>; changed?: string[]; plan?: unknown; diagnostics?: unknown }[];
}

const folder = resolve(import.meta.dirname, '../fixtures/pipelines');
const files = (await readdir(folder)).filter((name) => name.endsWith('.yml')).sort();
const update = process.env['UPDATE_FIXTURES'] === '1';

const reader: FileReader = {
  list: () => Promise.resolve([]),
  read: (path) => readFile(join(folder, path), 'utf8').catch(() => undefined),
};

describe('fixture pipelines', () => {
  test('there are at least 60', () => {
    expect(files.length).toBeGreaterThanOrEqual(60);
  });

  test.each(files)('%s', async (name) => {
    const expected = join(folder, name.replace(/\.yml$/, '.json'));
    const fixture = JSON.parse(await readFile(expected, 'utf8')) as Fixture;
    const text = await readFile(join(folder, name), 'utf8');
    const loaded = await loadPipeline('.impgem.yml', text, reader);
    const cases = fixture.cases.map(({ event, changed }) => {
      const given = { event, ...(changed ? { changed } : {}) };
      const planned = loaded.pipeline
        ? planPipeline(loaded.pipeline, {
            event: pipelineEvent(event),
            ...(changed ? { changedPaths: changed } : {}),
            defaults: { jobTimeoutMs: DEFAULT_TIMEOUT },
          })
        : { diagnostics: loaded.diagnostics };
      if (planned.plan) return { ...given, plan: shortPlan(planned.plan) };
      return { ...given, diagnostics: planned.diagnostics.map(shortDiagnostic) };
    });
    if (update) await writeFile(expected, `${JSON.stringify({ cases }, null, 2)}\n`);
    expect(JSON.parse(JSON.stringify(cases))).toEqual(update ? JSON.parse(JSON.stringify(cases)) : fixture.cases);
  });
});

function shortDiagnostic({ code, line, column, message, hint, file }: Diagnostic): object {
  const at = `${file === '.impgem.yml' ? '' : `${file}:`}${line}:${column}`;
  return { code, at, message, ...(hint ? { hint } : {}) };
}
