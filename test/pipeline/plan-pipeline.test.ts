import { expect, test } from 'vitest';
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
