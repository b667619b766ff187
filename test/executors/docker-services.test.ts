/** Services that run the own command of their image. */
import { execa } from 'execa';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { createDockerExecutor } from '../../src/executors/docker/docker-executor.ts';
import { connectEngine } from '../../src/executors/docker/engine.ts';
import type { ExecutorParts } from '../../src/executors/docker/parts.ts';
import { followService } from '../../src/executors/docker/services.ts';
import type { Executor, JobSandbox, ServiceTask } from '../../src/executors/executor.ts';
import { BASE_IMAGE, type EngineBench, openEngineBench } from '../support/docker-engine.ts';
import { openJob, recordOutput, type TestJob } from './conformance/job.ts';

const signal = new AbortController().signal;
let bench: EngineBench;
let executor: Executor;
let job: TestJob;

beforeAll(async () => {
  bench = await openEngineBench();
  executor = await createDockerExecutor(bench.options);
  job = await openJob(executor, BASE_IMAGE);
});
afterAll(async () => {
  await job.close();
  await executor.close();
  expect(await bench.leftovers()).toEqual([]);
  await bench.close();
});

const LISTEN = "perl -MIO::Socket -e '$s = IO::Socket::INET->new(Listen => 9, LocalPort => 80); sleep 1000'";

/** BASE_IMAGE after `prepare`, with these lines of a Dockerfile. */
async function imageOf(prepare: string, ...changes: string[]): Promise<string> {
  const tag = `impgem-test-service-${randomBytes(6).toString('hex')}`;
  await execa('docker', ['run', '--name', tag, BASE_IMAGE, 'sh', '-c', prepare]);
  await execa('docker', ['commit', ...changes.flatMap((change) => ['--change', change]), tag, tag]);
  await execa('docker', ['rm', tag]);
  onTestFinished(async () => {
    await execa('docker', ['rmi', '-f', tag]);
  });
  return tag;
}

/** A job of its own, for what happens at its end. */
async function ownJob(): Promise<TestJob> {
  const own = await openJob(executor, BASE_IMAGE);
  onTestFinished(() => own.close());
  return own;
}

/** Gives what it printed once it has ended with 0. */
async function runService(name: string, image: string): Promise<string> {
  const output = recordOutput();
  const { ended } = await job.sandbox.startService({ name, image, env: {} }, output, { signal });
  expect(await ended).toBe(0);
  return output.text();
}

it('run it where their image says, and find only what is their own there', async () => {
  await writeFile(join(job.context.folder, 'workspace/mine'), 'mine');
  // As the entry point of the official Redis: it takes all of its working directory for itself.
  const entry = String.raw`#!/bin/sh -e\nfind . \\! -user games -exec chown games {} +\nexec "$@"\n`;
  const image = await imageOf(
    `mkdir -p /data && echo stored > /data/file && printf '${entry}' > /entry && chmod +x /entry`,
    'WORKDIR /data',
    'ENTRYPOINT ["/entry"]',
    'CMD ["sh", "-c", "pwd; stat -c %U file; ls -d /workspace /impgem 2>/dev/null; cat ./file"]',
  );
  expect(await runService('own', image)).toBe('/data\ngames\nstored\n');
  expect((await job.run('stat -c %U . mine ~')).text).toBe('root\nroot\nroot\n');
});

it('need no shell for that, and may have a link on the way', async () => {
  const image = await imageOf(
    'mkdir -p /srv/app && ln -s /srv /link && cp /bin/pwd /srv/app/where && rm /bin/sh',
    'WORKDIR /link/app',
    'CMD ["./where", "-P"]',
  );
  expect(await runService('plain', image)).toBe('/srv/app\n');
});

it.each([
  ['by itself', 'true', '/proc/self/fd/8'],
  ['with dots', 'true', '/srv/../proc/self/fd/8'],
  ['by a link', 'ln -s /proc/self/fd/8 /app', '/app'],
  ['by a link to a link', 'ln -s /second /app; ln -s proc/self /second', '/app/fd/8'],
  ['by a link to the root', 'ln -s / /app', '/app/proc/self/fd/8'],
  ['by a link with dots', 'mkdir /deep; ln -s ../../proc /deep/app', '/deep/app/self/fd/8'],
])('do not start in a folder of the kernel: %s', async (_, prepare, workdir) => {
  const image = await imageOf(prepare, `WORKDIR ${workdir}`, 'CMD ["pwd"]');
  const starting = job.sandbox.startService({ name: 'hostile', image, env: {} }, recordOutput(), { signal });
  await expect(starting).rejects.toMatchObject({ code: 'image-workdir' });
});

it('with a script find bash where the image keeps it, or say that it has none', async () => {
  const run = 'echo "$BASH_VERSINFO" "$#"; [[ a == a ]] && echo "$GREETING"';
  const start = async (image: string) => {
    const output = recordOutput();
    const service = { name: 'scripted', image, env: { GREETING: 'hello' }, run };
    const { ended } = await job.sandbox.startService(service, output, { signal });
    return { code: await ended, text: output.text() };
  };
  expect(await start(await imageOf('mv /bin/bash /usr/local/bin/bash'))).toEqual({ code: 0, text: '5 0\nhello\n' });
  expect(await start(await imageOf('rm /bin/bash'))).toEqual({
    code: 127,
    text: 'This image has no bash, which the run of a service needs\n',
  });
});

it('are ready when their command says so, whatever it leaves running', async () => {
  const ready = { command: 'sleep 1000 & echo asked', timeoutMs: 20_000 };
  const service = { name: 'leaving', run: 'exec sleep 1000', env: {}, ready };
  const own = await ownJob();
  await own.sandbox.startService(service, recordOutput(), { signal });
});

it('that cannot be asked by a command say why', async () => {
  const image = await imageOf('rm /bin/sh', 'CMD ["sleep", "1000"]');
  const output = recordOutput();
  const service = { name: 'bare', image, env: {}, ready: { command: 'true', timeoutMs: 20_000 } };
  const message = expect.stringMatching(
    /^Whether the service bare is ready cannot be asked: its ready command ended with exit code 12/,
  );
  const code = 'service-not-ready';
  await expect(job.sandbox.startService(service, output, { signal })).rejects.toMatchObject({ code, message });
  expect(output.text()).toContain('/bin/sh');
});

it('whose image cannot run at all say what is wrong with it, and are no failure of the engine', async () => {
  const start = (image: string) =>
    job.sandbox.startService({ name: 'bad', image, env: {} }, recordOutput(), { signal });
  const empty = `impgem-test-empty-${randomBytes(6).toString('hex')}`;
  await execa('docker', ['import', '-', empty], { input: Buffer.alloc(1024) });
  onTestFinished(async () => {
    await execa('docker', ['rmi', '-f', empty]);
  });
  await expect(start(empty)).rejects.toMatchObject({ name: 'InputError', code: 'image-without-command' });
  await expect(start(await imageOf('true', 'USER ghost', 'CMD ["true"]'))).rejects.toMatchObject({
    name: 'InputError',
    code: 'image-user-unknown',
    message: expect.stringContaining('no user ghost'),
  });
});

it('may be many that come up late and are asked for their ports at the same time', async () => {
  const own = await ownJob();
  const ownSignal = new AbortController().signal;
  const warnings: Error[] = [];
  const onWarning = (warning: Error): void => void warnings.push(warning);
  process.on('warning', onWarning);
  onTestFinished(() => void process.off('warning', onWarning));
  const start = (name: string, run: string) => {
    const service = { name, run, env: {}, ready: { port: 80, timeoutMs: 60_000 } };
    return own.sandbox.startService(service, recordOutput(), { signal: ownSignal });
  };
  await Promise.all(Array.from({ length: 12 }, (_, index) => start(`many-${index}`, `sleep 4; ${LISTEN}`)));
  await own.sandbox.dispose();
  expect(warnings).toEqual([]);
}, 90_000);

it('are given room to be asked for their ports once one is, in a job that is carried on as well; no job before', async () => {
  const own = await ownJob();
  const limits = async (): Promise<string> => {
    const holder = `impgem-job.${own.context.owner.run}.test.1`;
    const format = '{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}';
    return (await execa('docker', ['inspect', '--format', format, holder])).stdout;
  };
  const small = `${64 * 1024 * 1024} 16`;
  const start = (sandbox: JobSandbox, name: string, ready: ServiceTask['ready'] & object) =>
    sandbox.startService({ name, run: LISTEN, env: {}, ready }, recordOutput(), { signal });
  await start(own.sandbox, 'by-command', { command: 'true', timeoutMs: 20_000 });
  expect(await limits()).toBe(small);
  await own.sandbox.detach();
  const adopted = await executor.adopt(own.context);
  onTestFinished(() => adopted!.sandbox.dispose());
  expect(await limits()).toBe(small);
  await start(adopted!.sandbox, 'by-port', { port: 80, timeoutMs: 20_000 });
  expect(await limits()).toBe(`${564 * 1024 * 1024} 1064`);
});

it('claim no time-out that has not passed when what asks for their port is killed', async () => {
  const own = await ownJob();
  const ready = { port: 80, timeoutMs: 8000 };
  const began = performance.now();
  const service = { name: 'deaf', run: 'exec sleep 1000', env: {}, ready };
  const starting = own.sandbox.startService(service, recordOutput(), { signal });
  const failure = starting.then(
    () => undefined,
    (error: unknown) => error,
  );
  const holder = `impgem-job.${own.context.owner.run}.test.1`;
  const find = 'pids=$(grep -ls "dea[f]" /proc/[0-9]*/cmdline | cut -d/ -f3)';
  const kill = `for times in 1 2 3; do until ${find}; [ -n "$pids" ]; do sleep 0.1; done; kill -9 $pids; done`;
  await execa('docker', ['exec', holder, 'sh', '-c', kill]);
  const message = expect.stringMatching(/^The service deaf was not ready within 8000 ms/);
  expect(await failure).toMatchObject({ code: 'service-not-ready', message });
  expect(performance.now() - began).toBeGreaterThanOrEqual(8000);
});

it('keep a last line without its end: of those that end, and of one that ends with the job', async () => {
  const own = await ownJob();
  const runs = recordOutput();
  const ready = { command: 'test -e /tmp/up', timeoutMs: 20_000 };
  const long = { name: 'long', run: 'echo a; printf Waiting; : > /tmp/up; sleep 1000', env: {}, ready };
  const running = await own.sandbox.startService(long, runs, { signal });
  // Several, for the engine's stream has it sometimes.
  const texts = Array.from({ length: 5 }, async (_, index) => {
    const output = recordOutput();
    const short = { name: `short-${index}`, run: 'echo a; sleep 1; printf Fatal; exit 4', env: {} };
    const { ended } = await own.sandbox.startService(short, output, { signal });
    expect(await ended).toBe(4);
    return output.text();
  });
  expect(await Promise.all(texts)).toEqual(Array.from(texts, () => 'a\nFatal'));
  await own.sandbox.dispose();
  await running.ended;
  expect(runs.text()).toBe('a\nWaiting');
});

it('print much and keep a last line without its end', async () => {
  const own = await ownJob();
  const output = recordOutput();
  const run = 'seq 1 200000; sleep 1; printf Fatal';
  const { ended } = await own.sandbox.startService({ name: 'loud', run, env: {} }, output, { signal });
  await ended;
  expect(output.text().slice(-12)).toBe('200000\nFatal'.slice(-12));
  expect(output.bytes().length).toBe(1_288_895 + 'Fatal'.length);
});

it('do not hold the end of a cancelled job, and say that the rest of their output is left out', async () => {
  const own = await ownJob();
  const cancel = new AbortController();
  const output = recordOutput();
  const held = new AbortController();
  const slow = {
    write: async (bytes: Buffer) => {
      await output.write(bytes);
      await once(held.signal, 'abort');
    },
  };
  const loud = { name: 'loud', run: 'yes', env: {} };
  const { ended } = await own.sandbox.startService(loud, slow, { signal: cancel.signal });
  await output.until('y');
  cancel.abort();
  await own.sandbox.dispose();
  held.abort();
  await expect(ended).rejects.toMatchObject({ code: 'service-output-left-out' });
});

it('whose output the engine dropped before it was taken say so in their log, and how they ended is known', async () => {
  const { stdout: id } = await execa('docker', [
    ...['run', '-d', '--log-driver=local', '--log-opt=max-size=1m', '--log-opt=max-file=1', '--log-opt=compress=false'],
    ...[BASE_IMAGE, 'sh', '-c', 'seq 1 2000000; sleep 1; printf end; exit 4'],
  ]);
  onTestFinished(async () => {
    await execa('docker', ['rm', '-f', id]);
  });
  const engine = await connectEngine({});
  onTestFinished(() => engine.close());
  const ended = new AbortController();
  const parts = { docker: engine.docker, events: { look: () => Promise.resolve(true) } } as unknown as ExecutorParts;
  const output = recordOutput();
  const slow = {
    write: async (bytes: Buffer) => {
      if (!ended.signal.aborted) await execa('docker', ['wait', id]);
      ended.abort({ code: 4 });
      await output.write(bytes);
    },
  };
  const end = { signal: ended.signal, forget: () => undefined };
  expect(await followService(parts, id, slow, { end, stop: signal })).toBe(4);
  expect(output.text()).toMatch(/\n\[impgem\] This service printed faster than .* the rest is left out\n$/);
});
