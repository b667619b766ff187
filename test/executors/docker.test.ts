import { execa } from 'execa';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createDockerExecutor } from '../../src/executors/docker/docker-executor.ts';
import { BASE_IMAGE, type EngineBench, openEngineBench } from '../support/docker-engine.ts';
import { conformance } from './conformance.ts';
import { openJob, recordOutput, taskOf } from './conformance/job.ts';

let bench: EngineBench;
beforeAll(async () => {
  bench = await openEngineBench();
});
afterAll(async () => {
  await bench.close();
});

conformance('docker', {
  create: () => createDockerExecutor(bench.options),
  image: BASE_IMAGE,
  can: {
    bash: true,
    images: true,
    limits: true,
    services: false,
    adoption: true,
    blocksOnOutput: false,
    sealsProc: false,
  },
});

it('keeps the variables of a step off the disk, and out of what the engine tells', async () => {
  const executor = await createDockerExecutor(bench.options);
  const job = await openJob(executor, BASE_IMAGE);
  const secret = randomBytes(12).toString('hex');
  const output = recordOutput();
  const script = 'echo ${#TOKEN}; until [ -e go ]; do sleep 0.02; done';
  const task = taskOf(script, { env: { TOKEN: secret } });
  const running = job.sandbox.start(task, output, { signal: new AbortController().signal });
  await output.until('24\n');
  const ids = (await execa('docker', ['ps', '-q', '--filter', `label=dev.impgem.instance=${bench.options.instance}`]))
    .stdout;
  expect((await execa('docker', ['inspect', ...ids.split('\n')])).stdout).not.toContain(secret);
  expect((await execa('grep', ['-rl', secret, job.context.folder], { reject: false })).stdout).toBe('');
  await writeFile(join(job.context.folder, 'workspace/go'), '');
  expect(await running).toMatchObject({ code: 0, image: expect.stringMatching(/^sha256:/) });
  await job.close();
  await executor.close();
});

it.each([
  ['elsewhere on the PATH of its image', 'mv /usr/bin/bash /usr/local/bin/bash', { code: 0 }, 'bash sub dir\n'],
  ['missing', 'rm /usr/bin/bash', { code: 127 }, 'This image has no bash: use "shell: sh" for this step\n'],
])('looks for a bash that is %s', async (_, change, exit, text) => {
  const image = `impgem-test-bash:${randomBytes(6).toString('hex')}`;
  await execa('docker', ['run', '--name', image.replace(':', '-'), BASE_IMAGE, 'sh', '-c', change]);
  await execa('docker', ['commit', image.replace(':', '-'), image]);
  await execa('docker', ['rm', image.replace(':', '-')]);
  const executor = await createDockerExecutor(bench.options);
  const job = await openJob(executor, image);
  try {
    await job.run('mkdir "sub dir"', { shell: 'sh' });
    const script = 'echo "${BASH_VERSION:+bash}" "${PWD##*/}"';
    expect(await job.run(script, { workingDirectory: 'sub dir' })).toMatchObject({ exit, text });
  } finally {
    await job.close();
    await executor.close();
    await execa('docker', ['rmi', '-f', image]);
  }
});

it('leaves nothing on the engine', async () => {
  expect(await bench.leftovers()).toEqual([]);
});
