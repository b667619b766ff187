import { expect, test } from 'vitest';
import { findWarnings } from '../../src/pipeline/find-warnings.ts';
import { parsePipeline } from '../../src/pipeline/parse.ts';

function warnings(text: string): string[] {
  const { pipeline, diagnostics } = parsePipeline(text, 'f.yml');
  expect(diagnostics).toEqual([]);
  return pipeline ? findWarnings(pipeline).map(({ code, line, column }) => `${code} ${line}:${column}`) : [];
}

const steps = 'steps: [{ run: make }]';

test.each([
  ['a clean file', `image: "debian:bookworm-slim"\n${steps}`, []],
  // Secrets
  ['a password', `env: { DB_PASSWORD: hunter2hunter2 }\n${steps}`, ['secret-in-plain-text 1:21']],
  ['a token by its form', `env: { X: ghp_abcdefghijklmnopqrstuvwx }\n${steps}`, ['secret-in-plain-text 1:11']],
  ['a key in a script', 'steps: [{ run: "aws AKIAABCDEFGHIJKLMNOP" }]', ['secret-in-plain-text 1:21']],
  [
    'where a secret is, is none',
    `env: { TOKEN_FILE: /run/secrets/token, TOKEN_URL: "https://x/y", API_KEY: "$OTHER_VALUE", SECRET_ID: abcdefghij }\n${steps}`,
    [],
  ],
  ['a filled-in value is none', `env: { TOKEN: "\${{ event.sha }}" }\n${steps}`, []],
  [
    'the password of a service is none',
    'jobs: { a: { services: { db: { image: "postgres:17", env: { POSTGRES_PASSWORD: testtest } } }, steps: [{ run: x }] } }',
    [],
  ],
  // Images
  ['no tag', `image: debian\n${steps}`, ['image-without-tag 1:8']],
  ['latest', 'steps: [{ run: x, image: "r.example.org:5000/x:latest" }]', ['image-without-tag 1:26']],
  ['a digest', `image: "x@sha256:${'0'.repeat(64)}"\n${steps}`, []],
  [
    'an image of the matrix',
    'jobs: { a: { matrix: { v: [1] }, image: "x:${{ matrix.v }}", steps: [{ run: x }] } }',
    [],
  ],
  // Scripts
  ['curl | sh', 'steps: [{ run: "curl -sf https://x | sudo bash -s" }]', ['pipe-to-shell 1:17']],
  ['bash <(curl)', 'steps: [{ run: "bash <(curl x)" }]', ['pipe-to-shell 1:17']],
  ['sh -c "$(curl)"', `steps: [{ run: 'sh -c "$(curl x)"' }]`, ['pipe-to-shell 1:17']],
  ['curl | tar', 'steps: [{ run: "curl x | tar x; echo | sh" }]', []],
  // Conditions
  ['tag of a push', 'jobs: { a: { when: { event: push, tag: v1 }, steps: [{ run: x }] } }', ['job-never-runs 1:14']],
  [
    'branch of a tag',
    'jobs: { a: { when: { event: tag, branch: main }, steps: [{ run: x }] } }',
    ['job-never-runs 1:14'],
  ],
  [
    'against the pipeline',
    `when: { event: push }\njobs: { a: { when: { event: tag }, steps: [{ run: x }] } }`,
    ['job-never-runs 2:14'],
  ],
  [
    'branches against the pipeline',
    'when: { branch: [main, "release/*"] }\njobs: { a: { when: { branch: develop }, steps: [{ run: x }] }, b: { when: { branch: release/1 }, steps: [{ run: x }] }, c: { when: { branch: "feature/*" }, steps: [{ run: x }] } }',
    ['job-never-runs 2:14'],
  ],
  [
    'branches of a step against its job, and of one of several conditions',
    'jobs: { a: { when: [{ branch: main }, { event: tag }, { branch: "!dev*", event: push }], steps: [{ run: x, when: { branch: develop } }, { run: x, when: { branch: other } }] } }',
    ['when-unreachable 1:114'],
  ],
  [
    'branches of a job against what it needs',
    'jobs: { a: { when: { branch: develop }, steps: [{ run: x }] }, b: { needs: a, when: { branch: main }, steps: [{ run: x }] } }',
    ['job-never-runs 1:69'],
  ],
  ['a pipeline', `when: { event: ["!push", push] }\n${steps}`, ['when-unreachable 1:7']],
  ['a step', 'steps: [{ run: x, when: { cron: x, event: push } }, { run: y }]', ['when-unreachable 1:25']],
  ['an if that is false', 'steps: [{ run: x, when: { if: "1 == 2" } }]', ['when-unreachable 1:25']],
  ['an if of the status', 'steps: [{ run: x, when: { if: failure() } }]', []],
  [
    'a name that is ruled out',
    'jobs: { a: { when: { branch: [main, "!main"] }, steps: [{ run: x }] } }',
    ['job-never-runs 1:14'],
  ],
  [
    'a cell that is not there',
    'jobs: { a: { matrix: { v: [1] }, steps: [{ run: x, when: { matrix: { v: 2 } } }] } }',
    ['when-unreachable 1:58'],
  ],
  ['one way of two', 'jobs: { a: { when: [{ event: push, tag: v1 }, { event: tag }], steps: [{ run: x }] } }', []],
  [
    'a need of another event',
    'jobs: { a: { when: { event: tag }, steps: [{ run: x }] }, b: { when: { event: push }, needs: [a], steps: [{ run: x }] } }',
    ['job-never-runs 1:87'],
  ],
  [
    'an optional need of another event',
    'jobs: { a: { when: { event: tag }, steps: [{ run: x }] }, b: { when: { event: push }, needs: [{ name: a, optional: true }], steps: [{ run: x }] } }',
    [],
  ],
  [
    'whatever becomes of the need',
    'jobs: { a: { when: { event: tag }, steps: [{ run: x }] }, b: { when: { event: push, status: always }, needs: [a], steps: [{ run: x }] } }',
    [],
  ],
  // Outputs
  ['an output that nobody reads', 'jobs: { a: { outputs: { v: x }, steps: [{ run: x }] } }', ['output-unused 1:25']],
  [
    'an output that is read',
    'jobs: { a: { outputs: { v: x }, steps: [{ run: x }] }, b: { needs: [a], env: { V: "${{ needs.a.outputs.v }}" }, steps: [{ run: x }] } }',
    [],
  ],
  [
    'an output that jobs, services and variables with the names of keys read',
    'jobs: { a: { outputs: { v: x, w: x }, steps: [{ run: x }] }, run: { needs: [a], env: { run: "${{ needs.a.outputs.v }}" }, services: { run: { run: x, env: { if: "${{ needs.a.outputs.w }}" } } }, steps: [{ run: x }] } }',
    [],
  ],
  [
    'an output that the key of a cache reads',
    'jobs: { a: { outputs: { v: x }, steps: [{ run: x }] }, b: { needs: [a], steps: [{ run: x, cache: { key: k, restore-keys: "${{ needs.a.outputs.v }}", paths: x } }] } }',
    [],
  ],
  [
    'an output that an if reads',
    'jobs: { a: { outputs: { v: x }, steps: [{ run: x }] }, b: { needs: [a], when: { if: needs.a.outputs.v }, steps: [{ run: x }] } }',
    [],
  ],
  [
    'outputs that are read by name',
    'jobs: { a: { outputs: { v: x }, steps: [{ run: x }] }, b: { needs: [a], env: { V: "${{ needs.a.outputs[event.branch] }}" }, steps: [{ run: x }] } }',
    [],
  ],
])('%s', (_, text, expected) => {
  expect(warnings(text)).toEqual(expected);
});
