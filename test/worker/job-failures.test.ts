/** What happens to a job when something of ours fails, and what the executor is told ahead. Over the fake executor. */
import { once } from 'node:events';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ImpGemError, InfrastructureError } from '../../src/errors.ts';
import { restLeftOut } from '../../src/executors/rest-of-output.ts';
import { createFakeExecutor, type FakeScript } from '../../src/executors/fake/executor.ts';
import { reapJobFolders } from '../../src/worker/job-folder.ts';
import { artifact, jobSpec, memoryPorts, stepSpec } from '../support/job-fixture.ts';
import { runJob } from '../support/run-job.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const NO_RETRY = { count: 0, delayMs: 0, infrastructure: false };
const engineDown = new InfrastructureError('engine-down', 'the engine does not answer', { retryable: true });

async function start(spec: ReturnType<typeof jobSpec>, script: FakeScript, ports = memoryPorts('/nonexistent')) {
  const executor = createFakeExecutor(script);
  return { executor, job: runJob(executor, await temporaryFolder(), spec, { ports }), ports };
}

describe('a failing engine', () => {
  it('makes step and job errored, and cleanup steps still get their turn', async () => {
    const spec = jobSpec([
      stepSpec('a', { name: 'a', allowFailure: true }),
      stepSpec('b', { name: 'b' }),
      stepSpec('c', { runsOnStatus: 'always' }),
    ]);
    const { job } = await start(spec, { task: (task) => (task.id === '0' ? { error: engineDown } : {}) });
    expect(await job.outcome()).toEqual([
      'errored (the engine does not answer)',
      'skipped (step a failed)',
      'succeeded',
    ]);
    expect(await job.result).toEqual({
      state: 'errored',
      reason: 'step a: the engine does not answer',
      outputs: {},
      infrastructure: true,
    });
    expect(job.ports.text('0')).toBe('[impgem] the engine does not answer\n');
  });

  it('is tried again where `retry` has infrastructure, and only there', async () => {
    const retry = { count: 1, delayMs: 0, exitCodes: [], infrastructure: true };
    const spec = jobSpec([stepSpec('a', { retry }), stepSpec('b', { retry })]);
    const { job, executor } = await start(spec, {
      task: (task) => (task.id === '0' ? { error: engineDown } : task.id === '1' ? { code: 1 } : {}),
    });
    expect(await job.outcome()).toEqual(['succeeded', 'failed']);
    const started = executor.calls.flatMap((call) => (call.call === 'start' ? [call.task.id] : []));
    expect(started).toEqual(['0', '0-retry-1', '1']);
  });

  it('that lost the script of a step is given it again, but not for ever', async () => {
    const lost = new InfrastructureError('task-not-started', 'The script never got there', { retryable: true });
    const losses = new Map([
      ['0', 2],
      ['1', 100],
    ]);
    const { job, executor } = await start(jobSpec([stepSpec('a'), stepSpec('b')]), {
      task: (task) => {
        const left = losses.get(task.id) ?? 0;
        losses.set(task.id, left - 1);
        return left > 0 ? { error: lost } : {};
      },
    });
    expect(await job.outcome()).toEqual(['succeeded', 'errored (The script never got there)']);
    const started = executor.calls.flatMap((call) => (call.call === 'start' ? [call.task.id] : []));
    expect(started).toEqual(['0', '0', '0', '1', '1', '1', '1']);
  });

  it('at prepare ends the job before its first step', async () => {
    const { job, ports } = await start(jobSpec([stepSpec('a')]), { task: () => ({}), prepare: () => engineDown });
    expect(await job.result).toMatchObject({ state: 'errored', infrastructure: true });
    expect(ports.reports).toEqual([]);
    expect(ports.text('job')).toBe('[impgem] the engine does not answer\n');
  });

  it('that says a sentence about the pipeline is not infrastructure', async () => {
    const error = new ImpGemError('image-not-found', 'image nope:1 does not exist');
    const { job } = await start(jobSpec([stepSpec('a', { name: 'a' })]), { task: () => ({ error }) });
    expect(await job.result).toMatchObject({
      state: 'errored',
      reason: 'step a: image nope:1 does not exist',
      infrastructure: false,
    });
  });
});

describe('a checkout that fails', () => {
  const late = new InfrastructureError('git-timeout', 'git read-tree did not end within 5 s', { retryable: true });

  async function checkOut(errors: Error[]) {
    const ports = memoryPorts('/nonexistent');
    ports.files['file'] = 'from the commit';
    const { workspaces } = ports;
    const seen: string[][] = [];
    const create: typeof workspaces.create = async (what, folder, stop) => {
      seen.push(await readdir(folder));
      const error = errors.shift();
      if (error) await writeFile(join(folder, 'half'), '');
      if (error) throw error;
      return workspaces.create(what, folder, stop);
    };
    ports.workspaces = { create };
    const { job } = await start(jobSpec([stepSpec('a', { name: 'a' })]), { task: () => ({}) }, ports);
    return { result: await job.result, text: ports.text('job'), seen };
  }

  it('is tried again in an empty folder, and the log says why', async () => {
    const { result, text, seen } = await checkOut([late, late]);
    expect(result).toMatchObject({ state: 'succeeded' });
    expect(seen).toEqual([[], [], []]);
    expect(text).toBe('[impgem] git read-tree did not end within 5 s; tried again\n'.repeat(2));
  });

  it('ends the job after three tries', async () => {
    const { result, seen } = await checkOut([late, late, late]);
    expect(result).toMatchObject({ state: 'errored', reason: late.message, infrastructure: true });
    expect(seen).toHaveLength(3);
  });

  it('ends it at once when trying again is of no use', async () => {
    const refused = new InfrastructureError('git-refused', 'The forge refused access', { retryable: false });
    const { result, seen } = await checkOut([refused]);
    expect(result).toMatchObject({ state: 'errored', reason: refused.message });
    expect(seen).toHaveLength(1);
  });
});

describe('a failing store', () => {
  it('of logs ends the task, and the step is errored', async () => {
    const ports = memoryPorts('/nonexistent');
    ports.logs.append = () => Promise.reject(new InfrastructureError('disk-full', 'no space left for logs'));
    const { job, executor } = await start(
      jobSpec([stepSpec('a', { name: 'a' })]),
      { task: () => ({ output: ['x'], until: new Promise(() => undefined) }) },
      ports,
    );
    expect(await job.result).toMatchObject({
      state: 'errored',
      reason: 'no space left for logs',
      infrastructure: true,
    });
    expect(executor.calls.at(-1)).toMatchObject({ call: 'dispose' });
  });

  it('of states stops the job, for nobody would know what it does', async () => {
    const ports = memoryPorts('/nonexistent');
    ports.report.step = () => Promise.reject(new InfrastructureError('redis-down', 'Redis does not answer'));
    const { job } = await start(
      jobSpec([stepSpec('a'), stepSpec('b')]),
      { task: () => ({ until: new Promise(() => undefined) }) },
      ports,
    );
    expect(await job.result).toMatchObject({ state: 'errored', reason: 'Redis does not answer', infrastructure: true });
  });

  it('of artifacts fails the step that succeeded, and not the one that failed already', async () => {
    const ports = memoryPorts('/nonexistent');
    ports.artifacts.add = () => Promise.reject(new InfrastructureError('disk-full', 'no space left for artifacts'));
    const keep = [artifact(['x'], { when: 'always' })];
    const effect: NonNullable<ReturnType<FakeScript['task']>['effect']> = ({ folder }) =>
      writeFile(join(folder, 'workspace', 'x'), '');
    const spec = jobSpec([
      stepSpec('a', { name: 'a', artifacts: keep }),
      stepSpec('b', { artifacts: keep, runsOnStatus: 'always' }),
    ]);
    const { job } = await start(spec, { task: (task) => ({ effect, code: task.id === '0' ? 0 : 1 }) }, ports);
    expect((await job.outcome())[0]).toBe('errored (no space left for artifacts)');
    expect(ports.text('0')).toBe('[impgem] no space left for artifacts\n');
  });
});

describe('a record that takes no news', () => {
  it('ends the job, whose services and own log are closed all the same', async () => {
    const ports = memoryPorts('/nonexistent');
    ports.report.step = () => Promise.reject(new InfrastructureError('redis-away', 'Redis does not answer'));
    const services = [{ name: 'db', run: 'serve', env: {} }];
    const spec = jobSpec([stepSpec('a')], { services });
    const { job } = await start(spec, { task: () => ({}), service: () => ({ output: ['up\n'] }) }, ports);
    expect(await job.result).toMatchObject({ state: 'errored', reason: 'Redis does not answer' });
    expect([...ports.closed]).toContain('service-db');
  });
});

describe('a service whose output is not taken in time', () => {
  it('says in its log that the rest is left out', async () => {
    const services = [{ name: 'db', run: 'serve', env: {} }];
    const service = () => ({ output: ['up\n'], until: Promise.reject(restLeftOut()) });
    const { job, ports } = await start(jobSpec([stepSpec('a')], { services }), { task: () => ({}), service });
    expect(await job.result).toMatchObject({ state: 'succeeded' });
    expect(ports.text('service-db')).toBe(`up\n[impgem] ${restLeftOut().message}\n`);
  });
});

describe('a mistake that shows while the job runs', () => {
  it('in an expression fails the step', async () => {
    const long = 'x'.repeat(60_000);
    const spec = jobSpec([stepSpec('a', { name: 'a', env: { X: '${{ env.L }}${{ env.L }}' } })], { env: { L: long } });
    const { job } = await start(spec, { task: () => ({}) });
    expect(await job.result).toMatchObject({ state: 'failed', reason: expect.stringContaining('longer than') });
  });

  it('in the size of the environment fails the step instead of every command in it', async () => {
    const handOn = (task: { id: string }) =>
      Array.from({ length: 9 }, (_, index) => `V${task.id}_${index}=${'x'.repeat(100_000)}`).join('\n');
    const steps = ['a', 'b', 'c'].map((name) => stepSpec(name, { name }));
    const script: FakeScript = { task: (task) => ({ handover: { env: handOn(task) } }) };
    const { job: fits } = await start(jobSpec(steps.slice(0, 2)), script);
    expect(await fits.result).toMatchObject({ state: 'succeeded' });
    const { job: tooMuch } = await start(jobSpec(steps), script);
    expect(await tooMuch.result).toMatchObject({
      state: 'failed',
      reason: expect.stringContaining('step c: the environment of the step has'),
    });
  });

  it("in the number of variables fails the step, whose names are the pipeline's", async () => {
    const env = Array.from({ length: 3000 }, (_, index) => `A${index}=x`).join('\n');
    const { job, executor } = await start(jobSpec([stepSpec('a'), stepSpec('b', { name: 'b' })]), {
      task: () => ({ handover: { env } }),
    });
    expect(await job.result).toMatchObject({
      state: 'failed',
      reason: expect.stringMatching(/^step b: the environment of the step has 30\d\d variables; at most 2000 fit/),
    });
    expect(executor.calls.filter(({ call }) => call === 'start')).toHaveLength(1);
  });

  it('in a here-document fails the step, and what was good is handed on to cleanup', async () => {
    const spec = jobSpec([stepSpec('a', { name: 'a' }), stepSpec('b', { runsOnStatus: 'always' })]);
    const { job, executor } = await start(spec, { task: () => ({ handover: { env: 'GOOD=1\nX<<END\n' } }) });
    expect(await job.result).toMatchObject({ state: 'failed' });
    const cleanup = executor.calls.find((call) => call.call === 'start' && call.task.id === '1');
    expect(cleanup).toMatchObject({ task: { env: { GOOD: '1' } } });
  });
});

describe('what the executor is told ahead', () => {
  const hints = (executor: ReturnType<typeof createFakeExecutor>) =>
    executor.calls.flatMap((call) => (call.call === 'expect' ? [call.tasks.map((task) => task.id).join(' ')] : []));

  it('is every step that may come, before the workspace is there, then what is left', async () => {
    const spec = jobSpec([
      stepSpec('a'),
      stepSpec('b', { skip: 'when' }),
      stepSpec('c', { runsOnStatus: 'failure' }),
      stepSpec('d', { image: 'node:22' }),
    ]);
    const ports = memoryPorts('/nonexistent');
    let fill: () => void = () => undefined;
    ports.workspaces.create = () => new Promise((resolve) => (fill = () => resolve({})));
    const { executor, job } = await start(spec, { task: () => ({}) }, ports);
    while (hints(executor).length === 0) await new Promise((resolve) => setImmediate(resolve));
    expect(hints(executor)).toEqual(['0 3']);
    fill();
    await job.result;
    expect(hints(executor)).toEqual(['0 3', '3', '']);
    const hinted = executor.calls.find((call) => call.call === 'expect');
    const started = executor.calls.filter((call) => call.call === 'start').at(-1);
    expect(started).toMatchObject({ task: hinted?.call === 'expect' ? hinted.tasks[1] : {} });
  });

  it('is what runs after a failure, once there is one, and the next try', async () => {
    const spec = jobSpec([
      stepSpec('a', { retry: { ...NO_RETRY, count: 1 } }),
      stepSpec('b'),
      stepSpec('c', { runsOnStatus: 'failure' }),
      stepSpec('d', { runsOnStatus: 'always' }),
    ]);
    const { executor, job } = await start(spec, { task: (task) => ({ code: task.id.startsWith('0') ? 1 : 0 }) });
    await job.result;
    expect(hints(executor)).toEqual(['0 1 3', '1 3', '0-retry-1', '1 3', '3', '']);
  });
});

describe('folders of jobs', () => {
  it('that are being filled when the job ends are removed after that', async () => {
    const executor = createFakeExecutor({ task: () => ({}) });
    const order: string[] = [];
    const removeFolder = executor.removeFolder.bind(executor);
    executor.removeFolder = (folder) => {
      order.push('removed');
      return removeFolder(folder);
    };
    const ports = memoryPorts('/nonexistent');
    ports.workspaces.create = async (_assignment, _folder, signal) => {
      await once(signal, 'abort');
      for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate);
      order.push('no longer filled');
      throw new Error('aborted');
    };
    const job = runJob(executor, await temporaryFolder(), jobSpec([stepSpec('a')]), { ports });
    job.cancel.abort('cancelled by a user');
    expect(await job.result).toMatchObject({ state: 'cancelled' });
    expect(order).toEqual(['no longer filled', 'removed']);
  });

  it('that nobody owns are removed; other folders are not', async () => {
    const folder = await temporaryFolder();
    for (const name of ['r1-test-1', 'r1-test-2', 'r2-test-node-20-1', 'warm', 'x-1']) await mkdir(join(folder, name));
    const live = ({ run, job, attempt }: { run: string; job: string; attempt: number }) =>
      Promise.resolve(run === 'r1' && job === 'test' && attempt === 2);
    const remove = (path: string) => rm(path, { recursive: true });
    expect(await reapJobFolders(folder, live, remove)).toBe(2);
    expect((await readdir(folder)).sort()).toEqual(['r1-test-2', 'warm', 'x-1']);
    expect(await reapJobFolders(join(folder, 'nothing'), live, remove)).toBe(0);
  });

  it('are removed although another cannot be, which is told', async () => {
    const folder = await temporaryFolder();
    for (const name of ['r1-a-1', 'r1-b-1', 'r1-c-1']) await mkdir(join(folder, name));
    const remove = (path: string) =>
      path.endsWith('r1-b-1') ? Promise.reject(new Error('b stays')) : rm(path, { recursive: true });
    const reaping = reapJobFolders(folder, () => Promise.resolve(false), remove);
    await expect(reaping).rejects.toThrow('b stays');
    expect(await readdir(folder)).toEqual(['r1-b-1']);
  });
});
