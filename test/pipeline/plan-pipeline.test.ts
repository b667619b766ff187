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
