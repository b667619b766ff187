import { execa } from 'execa';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { createDockerExecutor } from '../../src/executors/docker/docker-executor.ts';
import { BASE_IMAGE, type EngineBench, openEngineBench } from '../support/docker-engine.ts';
import { startEngineProxy } from '../support/engine-proxy.ts';
import { conformance } from './conformance.ts';
import { openJob, recordOutput, taskOf, type TestJob } from './conformance/job.ts';

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
    services: true,
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

it('has the container of a step that is over rest while another begins, then end by itself, and removes it', async () => {
  const proxy = await startEngineProxy();
  onTestFinished(() => proxy.close());
  const executor = await createDockerExecutor({ ...bench.options, host: proxy.host });
  onTestFinished(() => executor.close());
  const job = await openJob(executor, BASE_IMAGE);
  onTestFinished(() => job.close());
  const [first, second] = [taskOf('echo ready; until [ -e go ]; do sleep 0.02; done'), taskOf('exit 0')];
  const options = { signal: new AbortController().signal };
  const since = String(Math.floor(Date.now() / 1000));
  const output = recordOutput();
  const running = job.sandbox.start(first, output, options);
  await output.until('ready');
  const label = (name: string, value: string) => ['--filter', `label=dev.impgem.${name}=${value}`];
  const mine = [...label('instance', bench.options.instance), ...label('step', first.id)];
  const id = (await execa('docker', ['ps', '-q', ...mine])).stdout;
  // The other one is about to begin all this time.
  const start = /^POST \S+\/start/;
  proxy.delay(start, 6000);
  const asked = proxy.asked(start);
  const beside = job.sandbox.start(second, recordOutput(), options);
  beside.catch(() => undefined); // Awaited below, unless something fails before.
  await asked;
  await writeFile(join(job.context.folder, 'workspace/go'), '');
  expect(await running).toMatchObject({ code: 0 });
  // It would be killed with the container.
  expect(await execa('docker', ['exec', id, 'sleep', '1'], { reject: false })).toMatchObject({ exitCode: 0 });
  const wanted = ['kill', 'die', 'destroy'].flatMap((name) => ['--filter', `event=${name}`]);
  const format = ['--format', '{{.Action}} {{.Actor.Attributes.exitCode}}'];
  const events = execa('docker', ['events', '--since', since, ...wanted, ...mine, ...format], { reject: false });
  onTestFinished(() => void events.kill());
  let told = '';
  for await (const line of events) {
    told += `${line}\n`;
    if (line.startsWith('destroy')) events.kill();
  }
  expect(told).toMatch(/^die 0\ndestroy/);
  expect(await beside).toMatchObject({ code: 0 });
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

it('takes the variables of an image that are ours to set away from its steps and services', async () => {
  const name = `impgem-test-variables-${randomBytes(6).toString('hex')}`;
  const set = [
    'CI_COMMIT_TAG=v9.9',
    'IMPGEM_CRON=nightly',
    'CI_FOO=2',
    'CI_ODD=a\nCI_B=$(c)',
    'CI_a b=c',
    'CIRCLE=kept',
  ];
  const variables = set.flatMap((variable) => ['--env', variable]);
  await execa('docker', ['run', '--name', name, ...variables, BASE_IMAGE, 'true']);
  await execa('docker', ['commit', name, name]);
  await execa('docker', ['rm', name]);
  const executor = await createDockerExecutor(bench.options);
  const job = await openJob(executor, BASE_IMAGE);
  const list = 'env | grep -E "^(CI|IMPGEM)" || true';
  const env = { CI_FOO: 'ours' };
  try {
    const ran = [await job.run(list, { image: name, env }), await job.run(list, { image: name, env, shell: 'sh' })];
    const output = recordOutput();
    // What is asked beside a service finds the same.
    const ready = { command: '[ "$CI_FOO" = ours ] && [ -z "$CI_COMMIT_TAG" ]', timeoutMs: 20_000 };
    const service = { name: 'listed', image: name, env, run: `${list}; until [ -e go ]; do sleep 0.02; done`, ready };
    const { ended } = await job.sandbox.startService(service, output, { signal: new AbortController().signal });
    await job.run('touch go');
    await ended;
    const lines = [...ran, { text: output.text() }].map(({ text }) => text.trim().split('\n').sort());
    expect(lines).toEqual(Array.from(lines, () => ['CIRCLE=kept', 'CI_FOO=ours']));
  } finally {
    await job.close();
    await executor.close();
    await execa('docker', ['rmi', '-f', name]);
  }
});

describe('an image that lacks what holds a job or a step', () => {
  const image = `impgem-test-bare:${randomBytes(6).toString('hex')}`;
  afterEach(() => execa('docker', ['rmi', '-f', image]));

  async function withJob(
    lines: string,
    of: string,
    use: (job: TestJob) => Promise<void>,
    runAs?: string,
  ): Promise<void> {
    const input = `FROM ${BASE_IMAGE}\n${lines}\n`;
    await execa('docker', ['build', '-q', '-t', image, '-'], { input, env: { DOCKER_BUILDKIT: '0' } });
    const executor = await createDockerExecutor({ ...bench.options, ...(runAs === undefined ? {} : { runAs }) });
    const job = await openJob(executor, of);
    try {
      await use(job);
    } finally {
      await job.close();
      await executor.close();
    }
  }

  it.each(['/opt/bin', ''])('finds its own programs when the PATH is "%s", which the step sees as it is', (path) =>
    withJob(
      `ENV PATH="${path}"`,
      image,
      async (job) => {
        const seen = { exit: { code: 0 }, text: `[${path}]\n` };
        expect(await job.run('echo "[$PATH]"; : >mine', { shell: 'sh' })).toMatchObject(seen);
        expect(await job.run('echo "[$PATH]"', { env: { 'an-odd-name': 'x' } })).toMatchObject(seen);
      },
      '1234:5678',
    ),
  );

  it('says that it has no chown', () =>
    withJob(
      'RUN rm -f /bin/chown /usr/bin/chown',
      image,
      async (job) => {
        const error = { name: 'InputError', message: expect.stringContaining(`${image} has no chown`) };
        await expect(job.run('true')).rejects.toMatchObject(error);
      },
      '1234:5678',
    ));

  it('says that it has no sleep, and that the engine is not to blame', () =>
    withJob('RUN rm -f /bin/sleep /usr/bin/sleep', image, async (job) => {
      const message = `The image ${image} cannot hold the job: it has no \`sleep\` that can be run`;
      await expect(job.run('true')).rejects.toMatchObject({ name: 'InputError', message });
    }));

  it('says that it has no cat', () =>
    withJob('RUN rm -f /bin/cat /usr/bin/cat', BASE_IMAGE, async (job) => {
      const text = 'The image of this step has no `cat` that can be run; steps need one\n';
      expect(await job.run('echo x', { image })).toMatchObject({ exit: { code: 127 }, text });
    }));

  it('says that the limits allow no process', () =>
    withJob('', BASE_IMAGE, async (job) => {
      const { exit, text } = await job.run('echo x', { limits: { pids: 1 } });
      expect(exit.code).toBe(2);
      expect(text).toMatch(/^No process could be started for the script \(exit code 2\): .*"limits"/);
    }));
});

it('leaves nothing on the engine', async () => {
  expect(await bench.leftovers()).toEqual([]);
});

it('starts steps on an engine with fewer cores than the operator allows each', async () => {
  const limits = { ...bench.options.limits, cpu: 1000 };
  const executor = await createDockerExecutor({ ...bench.options, limits });
  const job = await openJob(executor, BASE_IMAGE);
  expect((await job.run('echo ran')).text).toBe('ran\n');
  await job.close();
  await executor.close();
});
