import { expect, test } from 'vitest';
import { findWarnings } from '../../src/pipeline/find-warnings.ts';
import { parsePipeline } from '../../src/pipeline/parse.ts';

function codes(text: string): string[] {
  return parsePipeline(text, 'f.yml').diagnostics.map(({ code, line, column }) => `${code} ${line}:${column}`);
}

const inJob = (keys: string): string => `jobs: { a: { ${keys}, steps: [{ run: x }] } }`;
const inStep = (keys: string): string => `jobs: { a: { matrix: { v: [1] }, steps: [{ run: x, ${keys} }] } }`;

test.each([
  ['the path of a cache', inStep('cache: { key: k, paths: ["a", "${{ matrix.v }}"] }'), 'expression-place 1:82'],
  ['a value of a filter', inStep('when: { matrix: { v: "${{ event.tag }}" } }'), 'expression-place 1:73'],
  ['a value of a matrix', inJob('matrix: { v: ["${{ event.tag }}"] }'), 'expression-place 1:28'],
  ['the name of a step', inStep('name: "${{ matrix.v }}"'), 'expression-place 1:58'],
  [
    'the name of an artifact, of a step',
    inStep('artifacts: { paths: x, name: "${{ steps.x }}" }'),
    'expression-place 1:86',
  ],
  ['the name of an artifact, open', inStep('artifacts: { paths: x, name: "${{ matrix.v" }'), 'expression-invalid 1:82'],
  [
    'labels of all jobs',
    'defaults: { job: { runs-on: "${{ run.id }}" } }\nsteps: [{ run: x }]',
    'expression-place 1:34',
  ],
  [
    'the folder of all steps',
    'defaults: { step: { working-directory: "${{ matrix" } }\nsteps: [{ run: x }]',
    'expression-invalid 1:41',
  ],
  [
    'a field of a pull request',
    'env: { A: "${{ event.pullRequest.titel }}" }\nsteps: [{ run: x }]',
    'expression-unknown 1:16',
  ],
])('refused in or as %s', (_, text, expected) => {
  expect(codes(text)).toEqual([expected]);
});

test('what is let through is no trouble for the warnings', () => {
  const text = `defaults: { job: { runs-on: "\${{ matrix.os }}" } }
jobs:
  a:
    matrix: { os: [linux] }
    outputs: { v: x }
    steps: [{ run: x, artifacts: { paths: x, name: "\${{ matrix.os }}-\${{ event.pullRequest.action }}" } }]`;
  const { pipeline, diagnostics } = parsePipeline(text, 'f.yml');
  expect(diagnostics).toEqual([]);
  expect(pipeline && findWarnings(pipeline).map(({ code }) => code)).toEqual(['output-unused']);
});
