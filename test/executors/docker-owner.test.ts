/** Steps that are not root: the workspace is theirs, on an engine that shares our disk and on one that does not. */
import { execa } from 'execa';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDockerExecutor } from '../../src/executors/docker/docker-executor.ts';
import type { Executor } from '../../src/executors/executor.ts';
import { BASE_IMAGE, type EngineBench, openEngineBench } from '../support/docker-engine.ts';
import { git } from '../support/git-http.ts';
import { openJob, recordOutput, taskOf, type TestJob } from './conformance/job.ts';

/** Says that its user is a name, as images do. */
const NAMED_USER = 'impgem-test/named-user';

beforeAll(async () => {
  await openEngineBench().then((bench) => bench.close());
  const dockerfile = `FROM ${BASE_IMAGE}\nRUN useradd --uid 4321 builder\nUSER builder\n`;
  await execa('docker', ['build', '-q', '-t', NAMED_USER, '-'], { input: dockerfile, env: { DOCKER_BUILDKIT: '0' } });
});
afterAll(() => execa('docker', ['rmi', '-f', NAMED_USER]));

async function openClonedJob(executor: Executor, image: string): Promise<TestJob> {
  const job = await openJob(executor, image);
  const workspace = join(job.context.folder, 'workspace');
  await git(workspace, 'init', '-q');
  await writeFile(join(workspace, 'tracked'), 'from the commit\n');
  await git(workspace, 'add', '.');
  await git(workspace, 'commit', '-q', '-m', 'The commit');
  return job;
}

/** What a build does: git, a file that is there, a new folder, the home folder. */
const BUILD = `git log -1 --format=%s; echo more >> tracked; mkdir -p out; (umask 077; echo made > out/private; echo kept > ~/state); git status --porcelain; id -u`;

describe.each([
  ['a mounted workspace', true],
  ['a copied workspace', false],
])('%s', (_, sharesDisk) => {
  let bench: EngineBench;
  beforeAll(async () => {
    bench = await openEngineBench({ sharesDisk });
  });
  afterAll(() => bench.close());

  it.each([
    ['the user that the operator says', { runAs: '1234:5678' }, BASE_IMAGE, '1234'],
    ['the user of the image, by its name', {}, NAMED_USER, '4321'],
  ])('belongs to %s', async (_, options, image, id) => {
    const executor = await createDockerExecutor({ ...bench.options, ...options });
    const job = await openClonedJob(executor, image);
    const ran = await job.run(BUILD);
    expect(ran.text).toBe(`The commit\n M tracked\n?? out/\n${id}\n`);
    await job.sandbox.pull();
    expect(await readFile(join(job.context.folder, 'workspace/out/private'), 'utf8')).toBe('made\n');
    // As a cache that is restored between two steps.
    await writeFile(join(job.context.folder, 'workspace/restored'), 'restored\n', { mode: 0o600 });
    await job.sandbox.push();
    expect((await job.run('cat restored ~/state out/private; echo x >> restored')).text).toBe('restored\nkept\nmade\n');
    await job.close();
    await executor.close();
    expect(await bench.leftovers()).toEqual([]);
  });

  it('belongs to the script of a service, too, when the operator names a user', async () => {
    const executor = await createDockerExecutor({ ...bench.options, runAs: '1234:5678' });
    const job = await openClonedJob(executor, BASE_IMAGE);
    const output = recordOutput();
    const service = { name: 'build', run: `cd /workspace; ${BUILD}`, env: {} };
    const { ended } = await job.sandbox.startService(service, output, { signal: new AbortController().signal });
    expect(await ended).toBe(0);
    expect(output.text()).toBe('The commit\n M tracked\n?? out/\n1234\n');
    await job.close();
    await executor.close();
  });

  it('follows the steps of a job that are different users', async () => {
    const executor = await createDockerExecutor(bench.options);
    const job = await openClonedJob(executor, BASE_IMAGE);
    expect((await job.run(BUILD)).text).toContain('\n0\n');
    expect((await job.run('git status --porcelain; echo y >> out/private; id -u', { image: NAMED_USER })).text).toBe(
      ' M tracked\n?? out/\n4321\n',
    );
    const asRoot = 'git log -1 --format=%s; cat out/private; stat -c %u . ~ .git';
    expect((await job.run(asRoot)).text).toBe('The commit\nmade\ny\n0\n0\n0\n');
    await job.run('true', { image: NAMED_USER });
    // As a cache that is restored between two steps.
    await job.sandbox.push();
    expect((await job.run('git log -1 --format=%s')).text).toBe('The commit\n');
    await job.close();
    await executor.close();
  });

  it('stays that of a step when one of root begins beside it', async () => {
    const executor = await createDockerExecutor(bench.options);
    const job = await openClonedJob(executor, BASE_IMAGE);
    const output = recordOutput();
    const script = 'mkdir mine; echo up; until [ -e go ]; do sleep 0.02; done; echo kept > mine/file; cat mine/file';
    const task = taskOf(script, { image: NAMED_USER });
    const running = job.sandbox.start(task, output, { signal: new AbortController().signal });
    await output.until('up\n');
    await job.run('touch go');
    expect(await running).toMatchObject({ code: 0 });
    expect(output.text()).toBe('up\nkept\n');
    await job.close();
    await executor.close();
  });

  it('has a folder that is gone at the end', async () => {
    const executor = await createDockerExecutor({ ...bench.options, runAs: '1234' });
    const job = await openClonedJob(executor, BASE_IMAGE);
    await job.run('mkdir -p deep/er && chmod 0 deep');
    await job.sandbox.dispose();
    await executor.removeFolder(job.context.folder);
    await expect(stat(job.context.folder)).rejects.toThrow('ENOENT');
    await executor.close();
  });
});
