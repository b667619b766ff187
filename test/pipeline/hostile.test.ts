/** Files that want to take our time or memory: each is answered by a diagnostic. How quickly is told by bench/lint.ts. */
import { describe, expect, test } from 'vitest';
import { MAX_DIAGNOSTICS } from '../../src/pipeline/diagnostic.ts';
import { renderDiagnostics, firstLine } from '../../src/pipeline/render-diagnostics.ts';
import { hostilePipelines } from '../support/hostile-pipelines.ts';
import { planText } from './plan-text.ts';

describe('hostile files', () => {
  test.each(Object.entries(hostilePipelines()))('%s', (_, { text, code }) => {
    const { plan, diagnostics } = planText(text);
    expect(plan).toBeUndefined();
    expect(diagnostics.map((one) => one.code)).toContain(code);
    expect(diagnostics.length).toBeLessThanOrEqual(MAX_DIAGNOSTICS);
    expect(firstLine(diagnostics).length).toBeLessThanOrEqual(140);
    expect(renderDiagnostics(diagnostics, { '.impgem.yml': text }).length).toBeLessThan(200_000);
  });
});

test('keys of the prototype are keys as any other', () => {
  const { plan } = planText('env: { constructor: a, hasOwnProperty: b, toString: c }\nsteps: [{ run: env }]');
  expect(plan?.jobs[0]?.env).toEqual({ constructor: 'a', hasOwnProperty: 'b', toString: 'c' });
  const jobs = planText(
    'jobs: { constructor: { steps: [{ run: x }] }, toString: { needs: constructor, steps: [{ run: x }] } }',
  );
  expect(jobs.plan?.jobs.map(({ id }) => id)).toEqual(['constructor', 'toString']);
  expect(planText('jobs: { a: { needs: [toString], steps: [{ run: x }] } }').diagnostics[0]?.code).toBe('need-unknown');
});
