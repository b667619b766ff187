import { expect, test } from 'vitest';
import { pipelineEvent } from '../support/pipeline-event.ts';
import { planText } from './plan-text.ts';

test('the whole plan of the smallest pipeline, defaults and all', () => {
  expect(planText('steps: [{ run: make }]').plan).toEqual({
    pipeline: '',
    file: '.impgem.yml',
    clone: { skip: false, depth: 0, submodules: false, lfs: false },
    jobs: [
      {
        id: 'main',
        key: 'main',
        name: 'main',
        matrix: {},
        needs: [],
        runsOnStatus: 'success',
        env: {},
        services: [],
        secrets: [],
        timeoutMs: 3_600_000,
        retry: { count: 0, delayMs: 0, infrastructure: false },
        runsOn: [],
        outputs: {},
        allowFailure: false,
        steps: [
          {
            name: 'step-1',
            run: 'make',
            shell: 'bash',
            env: {},
            secrets: [],
            runsOnStatus: 'success',
            retry: { count: 0, delayMs: 0, infrastructure: false },
            allowFailure: false,
            artifacts: [],
            caches: [],
            needs: [],
            background: false,
            network: 'default',
            limits: {},
            docker: false,
          },
        ],
        graph: false,
      },
    ],
  });
});

test('a plan is plain JSON: it travels in the queue', () => {
  const { plan } = planText('env: { A: 1 }\njobs: { a: { matrix: { x: [1, b] }, steps: [{ run: make }] } }');
  expect(JSON.parse(JSON.stringify(plan))).toEqual(plan);
});

test('a result that grows too long is a diagnostic, not a crash', () => {
  const text = `concurrency: "\${{ format('{0}{0}{0}', event.message) }}"\nsteps: [{ run: make }]`;
  const event = {
    kind: 'push' as const,
    repository: 'gitea/o/r',
    ref: 'refs/heads/main',
    branch: 'main',
    message: 'x'.repeat(30_000),
    author: '',
    receivedAt: '',
  };
  expect(planText(text, { event }).diagnostics).toMatchObject([{ code: 'expression-invalid', line: 1, column: 14 }]);
});

test('who needs a job needs those of its cells that run', () => {
  const needs = (node: string) =>
    planText(
      `jobs:
  pack: { matrix: { node: [20, 22] }, when: { matrix: { node: [${node}] } }, steps: [{ run: make }] }
  ship: { needs: pack, steps: [{ run: make }] }`,
    )
      .plan?.jobs.at(-1)
      ?.needs.map(({ job }) => job);
  expect(needs('20, 22')).toEqual(['pack-20', 'pack-22']);
  expect(needs('22')).toEqual(['pack-22']);
  // None runs: it is skipped, and so is who needs it.
  expect(needs('24')).toEqual(['pack-20', 'pack-22']);
});

test('the name of an artifact is filled in', () => {
  const { plan } = planText(
    'jobs: { a: { matrix: { node: [20] }, steps: [{ run: make, artifacts: { paths: dist, name: "dist-${{ matrix.node }}" } }] } }',
  );
  expect(plan?.jobs[0]?.steps[0]?.artifacts).toEqual([{ paths: ['dist'], name: 'dist-20', when: 'success' }]);
});

test('where comparing would take too long, every file counts as changed', () => {
  const text = 'jobs: { a: { when: { paths: ["docs/**", "*.md"] }, steps: [{ run: make }] } }';
  const paths = (count: number) => Array.from({ length: count }, (_, index) => `src/${'x'.repeat(90)}${index}`);
  expect(planText(text, { changedPaths: paths(1_000) }).plan?.jobs[0]?.skip).toContain('no changed path');
  expect(planText(text, { changedPaths: paths(110_000) }).plan?.jobs[0]?.skip).toBeUndefined();
});

test('results that are too much only together are a diagnostic as well', () => {
  const cells = Array.from({ length: 250 }, (_, index) => index).join(', ');
  const step = '{ run: x, artifacts: { paths: a, name: "${{ event.message }}" } }, ';
  const text = `jobs: { a: { matrix: { a: [${cells}] }, steps: [${step.repeat(20)}] } }`;
  const { plan, diagnostics } = planText(text, { event: pipelineEvent({ message: 'm'.repeat(10_000) }) });
  expect(plan).toBeUndefined();
  expect(diagnostics.map(({ message }) => message)).toEqual(['The results of all expressions have more than 16 MB.']);
});
