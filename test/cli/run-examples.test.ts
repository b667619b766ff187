/** Each example, made into a repository of its own as its README says, runs as promised on a machine with Node alone. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { cp, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildCommand, type Cli } from '../support/cli-process.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const EXAMPLES = new URL('../../examples/', import.meta.url).pathname;
const execute = promisify(execFile);

/** `job: state of each step`, in order. */
const EXPECTED: Record<string, string[]> = {
  hello: ['main: succeeded succeeded'],
  'node-tests': ['version: succeeded', 'test (roman): succeeded succeeded', 'test (words): succeeded succeeded'],
  'service-and-deploy': ['test: succeeded succeeded', 'deploy: succeeded skipped', 'notify: skipped'],
};
const ARTIFACTS: Record<string, string[]> = {
  hello: ['main/greeting.txt'],
  'node-tests': ['test-roman/roman.tap', 'test-words/words.tap'],
  'service-and-deploy': ['deploy/site/version.txt'],
};

let cli: Cli;
beforeAll(async () => {
  cli = await buildCommand('src/cli/run.ts', 'runCommand');
});
afterAll(() => cli.remove());

describe('examples', () => {
  it('are all expected here', async () => {
    expect((await readdir(EXAMPLES)).sort()).toEqual(Object.keys(EXPECTED).sort());
  });

  it.each(Object.keys(EXPECTED))('%s is green, with its artifacts', async (name) => {
    const folder = join(await temporaryFolder(), name);
    await cp(join(EXAMPLES, name), folder, { recursive: true });
    await execute('git', ['init', '-q', '-b', 'main'], { cwd: folder });
    await execute('git', ['add', '.'], { cwd: folder });
    const who = ['-c', 'user.name=Ann', '-c', 'user.email=ann@example.org'];
    await execute('git', [...who, 'commit', '-qm', 'first'], { cwd: folder });
    const { code, stdout, stderr } = await cli.start(['--json'], { cwd: folder }).ended;
    expect(code, stderr).toBe(0);
    const [run] = JSON.parse(stdout).runs;
    const outcome = run.jobs.map(
      (job: { name: string; steps: { state: string }[] }) =>
        `${job.name}: ${job.steps.map((step) => step.state).join(' ')}`,
    );
    expect(outcome).toEqual(EXPECTED[name]);
    for (const artifact of ARTIFACTS[name] ?? []) expect(existsSync(join(run.artifacts, artifact))).toBe(true);
  });

  it.each(Object.keys(EXPECTED))('%s tells editors its schema, and people what it is', (name) => {
    const [first = ''] = readFileSync(join(EXAMPLES, name, '.impgem.yml'), 'utf8').split('\n');
    const schema = /^# yaml-language-server: \$schema=(.+)$/.exec(first)?.[1] ?? '';
    expect(existsSync(join(EXAMPLES, name, schema))).toBe(true);
    expect(readFileSync(join(EXAMPLES, name, 'README.md'), 'utf8')).toMatch(new RegExp(`^# ${name}\n`));
  });
});
