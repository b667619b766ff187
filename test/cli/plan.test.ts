/** `impgem plan` as a process, as a user has it. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildCommand, type Cli } from '../support/cli-process.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

let cli: Cli;
beforeAll(async () => {
  cli = await buildCommand('src/cli/plan.ts', 'planCommand');
});
afterAll(() => cli.remove());

async function plan(text: string, ...args: string[]) {
  const cwd = await temporaryFolder();
  await mkdir(join(cwd, '.git'));
  await writeFile(join(cwd, '.impgem.yml'), text);
  return cli.start(args, { cwd }).ended;
}

const pipeline = `
jobs:
  test:
    matrix: { node: [20, 22] }
    when: { paths: "src/**" }
    steps:
      - { name: unit, run: npm test }
      - { name: coverage, run: npm run coverage, when: { matrix: { node: 22 } } }
      - { name: tell, run: ./tell.sh, when: { status: failure } }
  deploy:
    needs: [test]
    when: { event: push, branch: main, if: "needs.test.result == 'succeeded'" }
    steps: [{ run: ./deploy.sh }]
  after:
    needs: [deploy]
    steps: [{ run: ./after.sh }]
`;

test('is a tree that says why not', async () => {
  const { code, stdout, stderr } = await plan(pipeline, '--changed', 'README.md', 'src/a.ts');
  expect([code, stderr]).toEqual([0, '']);
  expect(stdout).toBe(`.impgem.yml for push main
├─ ✓ test (20)
│  ├─ ✓ unit
│  ├─ - coverage  skipped: matrix.node is 20 (wants 22)
│  └─ ? tell  only when a step before it fails
├─ ✓ test (22)
│  ├─ ✓ unit
│  ├─ ✓ coverage
│  └─ ? tell  only when a step before it fails
├─ ? deploy  if needs.test.result == 'succeeded'  after test
│  └─ ✓ step-1
└─ ? after  needs deploy, which may be skipped  after deploy
   └─ ✓ step-1
`);
});

test('follows a skipped job to those that need it', async () => {
  const { stdout } = await plan(pipeline, '--changed', 'README.md');
  expect(stdout).toContain('├─ - test (20)  skipped: no changed path matches src/**\n');
  expect(stdout).toContain('├─ - deploy  skipped: needs test (20), which is skipped  after test\n');
  expect(stdout).toContain('└─ - after  skipped: needs deploy, which is skipped  after deploy\n');
});

test('a pipeline for something else', async () => {
  const { code, stdout } = await plan(`when: { event: tag }\n${pipeline}`, '--branch', 'x');
  expect([code, stdout]).toEqual([0, '.impgem.yml for push x\n└─ nothing runs: event is push (wants tag)\n']);
});

test('--json holds the plan and what is expected of it', async () => {
  const { stdout } = await plan(pipeline, '--event', 'pull_request', '--branch', 'main', '--json');
  const { plans } = JSON.parse(stdout);
  expect(plans[0].jobs.map((job: { id: string; forecast: object }) => [job.id, job.forecast])).toEqual([
    ['test-20', { runs: 'yes' }],
    ['test-22', { runs: 'yes' }],
    ['deploy', { runs: 'no', why: 'event is pull_request (wants push)' }],
    ['after', { runs: 'no', why: 'needs deploy, which is skipped' }],
  ]);
});

test('mistakes go to stderr, and there is no plan', async () => {
  const { code, stdout, stderr } = await plan('stepz: []');
  expect([code, stdout]).toEqual([1, '']);
  expect(stderr).toContain('Did you mean `steps`?');
});

test.each([[['--event', 'tag']], [['--event', 'nothing']], [['no-such-file.yml']]])('wrong use: %j', async (args) => {
  const { code, stderr } = await plan(pipeline, ...args);
  expect(code).toBe(64);
  expect(stderr).not.toBe('');
});
