/** A job whose worker is gone: carried on where it stood, started over, or let go. Over the fake executor, which can adopt. */
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ExecutorLostError, ImpGemError, LostJobError } from '../../src/errors.ts';
import { createFakeExecutor, type FakeAnswer, type FakeScript } from '../../src/executors/fake/executor.ts';
import type { Step } from '../../src/runs/run.ts';
import type { HeldJob } from '../../src/worker/ports.ts';
import { work } from '../../src/worker/work.ts';
import { assignment, cache, jobSpec, memoryPorts, stepSpec, type MemoryPorts } from '../support/job-fixture.ts';
import { runJob, type JobRun } from '../support/run-job.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const forever = () => new Promise<never>(() => undefined);
const callsOf = (executor: ReturnType<typeof createFakeExecutor>): string[] =>
  executor.calls
    .filter(({ call }) => !['expect', 'push', 'pull', 'end'].includes(call))
    .map((call) =>
      'task' in call ? `${call.call} ${typeof call.task === 'string' ? call.task : call.task.id}` : call.call,
    );

/** A worker that gets as far as the script lets it, and is gone. */
async function leave(spec: ReturnType<typeof jobSpec>, script: FakeScript, reached: (ports: MemoryPorts) => boolean) {
  const folder = await temporaryFolder();
  const executor = createFakeExecutor(script);
  const job = runJob(executor, folder, spec);
  while (!reached(job.ports)) await new Promise((resolve) => setImmediate(resolve));
  job.detach.abort();
  expect(await job.result).toBe('detached');
  expect(callsOf(executor).at(-1)).toBe('detach');
  return { folder, ports: job.ports };
}

/** What the next worker is told of the steps. */
const told = (ports: MemoryPorts, names: string[]): Step[] =>
  names.map((name, index) => ({ name, state: 'pending', ...ports.steps()[index] }));

describe('adoption', () => {
  const spec = jobSpec(
    [
      stepSpec('echo', { name: 'one' }),
      stepSpec('slow', { name: 'two', env: { FROM: '${{ steps.one.outputs.v }}' } }),
      stepSpec('echo', { name: 'three' }),
    ],
    { outputs: { v: '${{ steps.one.outputs.v }}' } },
  );
  const one: FakeAnswer = { output: ['first\n'], handover: { env: 'A=1', output: 'v=42', path: '/tools' } };

  it('goes on with the running step at the byte where its log stopped, and with what was handed on', async () => {
    const { folder, ports } = await leave(
      spec,
      { task: (task) => (task.id === '0' ? one : { output: ['begin', 'ning'], until: forever() }) },
      (seen) => seen.text('1') === 'beginning',
    );
    const appended: number[] = [];
    const append = ports.logs.append.bind(ports.logs);
    ports.logs.append = (key, offset, bytes) => {
      if (key.part === '1') appended.push(offset);
      return append(key, offset, bytes);
    };
    const executor = createFakeExecutor({
      task: () => ({ output: ['third\n'] }),
      adopt: () => ({ started: ['0', '1'], answer: () => ({ output: ['begin', 'ning', ' and end\n'] }) }),
    });
    const job = runJob(executor, folder, spec, { ports, assignment: { steps: told(ports, ['one', 'two', 'three']) } });
    expect(await job.result).toMatchObject({ state: 'succeeded', outputs: { v: '42' } });
    expect(callsOf(executor)).toEqual(['adopt', 'resume 1', 'start 2', 'dispose']);
    expect(ports.text('1')).toBe('beginning and end\n');
    expect(appended).toEqual([9]);
    const third = executor.calls.find((call) => call.call === 'start');
    expect(third).toMatchObject({ task: { path: ['/tools'], env: { A: '1' } } });
    expect(ports.steps().map((step) => step.state)).toEqual(['succeeded', 'succeeded', 'succeeded']);
    expect(await job.leftovers()).toEqual([]);
  });

  it('masks the output again from its first byte, so that a secret across the cut stays hidden', async () => {
    const secret = jobSpec([stepSpec('slow', { name: 'two' })], { secrets: ['KEY'] });
    const folder = await temporaryFolder();
    const ports = memoryPorts(folder);
    ports.secretValues.set('KEY', 'hunter22');
    const first = runJob(
      createFakeExecutor({ task: () => ({ output: ['a hunt'], until: forever() }) }),
      folder,
      secret,
      { ports },
    );
    while (ports.text('0') !== 'a ') await new Promise((resolve) => setImmediate(resolve));
    first.detach.abort();
    await first.result;
    const executor = createFakeExecutor({
      task: () => ({}),
      adopt: () => ({ started: ['0'], answer: () => ({ output: ['a hunter', '22 b'] }) }),
    });
    await runJob(executor, folder, secret, { ports, assignment: { steps: told(ports, ['two']) } }).result;
    expect(ports.text('0')).toBe('a *** b');
  });

  it('goes on in a retry, and gives the retries that are left', async () => {
    const retry = jobSpec([stepSpec('flaky', { name: 'one', retry: { count: 2, delayMs: 0, infrastructure: false } })]);
    const { folder, ports } = await leave(
      retry,
      { task: (task) => (task.id === '0' ? { output: ['x\n'], code: 1 } : { output: ['y'], until: forever() }) },
      (seen) => seen.text('0').endsWith('y'),
    );
    const executor = createFakeExecutor({
      task: () => ({ output: ['z\n'] }),
      adopt: () => ({ started: ['0', '0-retry-1'], answer: () => ({ output: ['yy\n'], code: 1 }) }),
    });
    const job = runJob(executor, folder, retry, { ports, assignment: { steps: told(ports, ['one']) } });
    expect(await job.result).toMatchObject({ state: 'succeeded' });
    expect(callsOf(executor)).toEqual(['adopt', 'resume 0-retry-1', 'start 0-retry-2', 'dispose']);
    expect(ports.text('0')).toBe('x\n[impgem] exit code 1: retry 1 of 2\nyy\n[impgem] exit code 1: retry 2 of 2\nz\n');
  });

  it('says nothing twice about the job, and what the worker before could not write any more', async () => {
    const begin = createFakeExecutor({ task: () => ({ output: ['x'], until: forever() }) });
    const lookUp = (executor: ReturnType<typeof createFakeExecutor>, lines: string[]): typeof executor => ({
      ...executor,
      prepare: (context) => {
        for (const line of lines) context.note(line);
        return executor.prepare(context);
      },
      adopt: (context) => {
        for (const line of lines) context.note(line);
        return executor.adopt(context);
      },
    });
    const folder = await temporaryFolder();
    const ports = memoryPorts(folder);
    const append = ports.logs.append.bind(ports.logs);
    // It is gone before its second line is stored.
    ports.logs.append = (key, offset, bytes) =>
      key.part === 'job' && offset > 0 ? forever() : append(key, offset, bytes);
    const first = runJob(lookUp(begin, ['image a is 1', 'image b is 2']), folder, jobSpec([stepSpec('slow')]), {
      ports,
    });
    while (ports.text('0') !== 'x') await new Promise((resolve) => setImmediate(resolve));
    first.detach.abort();
    await first.result;
    expect(ports.text('job')).toBe('[impgem] image a is 1\n');
    ports.logs.append = append;
    const carryOn = createFakeExecutor({
      task: () => ({}),
      adopt: () => ({ started: ['0'], answer: () => ({ output: ['x'] }) }),
    });
    const second = runJob(lookUp(carryOn, ['image a is 1', 'image c is 3']), folder, jobSpec([stepSpec('slow')]), {
      ports,
      assignment: { steps: told(ports, ['slow']) },
    });
    expect(await second.result).toMatchObject({ state: 'succeeded' });
    expect(ports.text('job')).toBe('[impgem] image a is 1\n[impgem] image b is 2\n[impgem] image c is 3\n');
  });

  it('starts a task again that never reached the executor', async () => {
    const { folder, ports } = await leave(
      spec,
      { task: (task) => (task.id === '0' ? one : { until: forever() }) },
      (seen) => seen.steps()[1]?.state === 'running',
    );
    const executor = createFakeExecutor({
      task: () => ({ output: ['whole\n'] }),
      adopt: () => ({ started: ['0'], answer: () => ({}) }),
    });
    const job = runJob(executor, folder, spec, { ports, assignment: { steps: told(ports, ['one', 'two', 'three']) } });
    expect(await job.result).toMatchObject({ state: 'succeeded' });
    expect(callsOf(executor)).toEqual(['adopt', 'start 1', 'start 2', 'dispose']);
    expect(ports.text('1')).toBe('whole\n');
  });

  it('tells the end of a step that the record never heard of, without running it again', async () => {
    const { folder, ports } = await leave(
      spec,
      { task: (task) => (task.id === '0' ? one : { until: forever() }) },
      (seen) => seen.steps()[1]?.state === 'running',
    );
    const executor = createFakeExecutor({ task: () => ({}), adopt: () => ({ started: [], answer: () => ({}) }) });
    const steps: Step[] = ['one', 'two', 'three'].map((name) => ({ name, state: 'pending' }));
    await runJob(executor, folder, spec, { ports, assignment: { steps } }).result;
    expect(callsOf(executor)).toEqual(['adopt', 'start 1', 'start 2', 'dispose']);
    expect(ports.reports.filter(({ index, change }) => index === 0 && change.state === 'succeeded')).toHaveLength(2);
  });

  it('is left to the next worker when this one is told to stop while it asks how far a log had come', async () => {
    const { folder, ports } = await leave(
      spec,
      { task: () => ({ output: ['x'], until: forever() }) },
      (seen) => seen.text('0') === 'x',
    );
    const executor = createFakeExecutor({ task: () => ({}), adopt: () => ({ started: ['0'], answer: () => ({}) }) });
    // As one does whose server is away.
    ports.logs.length = async () => {
      await new Promise((resolve) => setImmediate(resolve));
      job.detach.abort();
      throw new LostJobError('job test');
    };
    const job: JobRun = runJob(executor, folder, spec, {
      ports,
      assignment: { steps: told(ports, ['one', 'two', 'three']) },
    });
    expect(await job.result).toBe('detached');
    expect(callsOf(executor)).toEqual([]);
  });

  it('closes the log of a step whose worker was gone before it could', async () => {
    const folder = await temporaryFolder();
    const ports = memoryPorts(folder);
    const close = ports.logs.close.bind(ports.logs);
    let closing = false;
    ports.logs.close = () => {
      closing = true;
      return forever();
    };
    const begin = createFakeExecutor({ task: (task) => (task.id === '0' ? one : { until: forever() }) });
    const first = runJob(begin, folder, spec, { ports });
    while (!closing) await new Promise((resolve) => setImmediate(resolve));
    first.detach.abort();
    expect(await first.result).toBe('detached');
    ports.logs.close = close;
    const executor = createFakeExecutor({ task: () => ({}), adopt: () => ({ started: ['0'], answer: () => ({}) }) });
    const steps: Step[] = ['one', 'two', 'three'].map((name) => ({ name, state: 'pending' }));
    await runJob(executor, folder, spec, { ports, assignment: { steps } }).result;
    expect(callsOf(executor)).not.toContain('resume 0');
    expect([...ports.closed].sort()).toEqual(['0', '1', '2']);
  });

  it('goes on behind what was said of caches before the step had begun', async () => {
    const cached = jobSpec([stepSpec('slow', { name: 'one', caches: [cache('a', ['a']), cache('b', ['b'])] })]);
    const folder = await temporaryFolder();
    const ports = memoryPorts(folder);
    const restore = ports.caches.restore.bind(ports.caches);
    ports.caches.restore = (_, { key }) => (key === 'a' ? Promise.reject(new Error('the disk is slow')) : forever());
    const first = runJob(createFakeExecutor({ task: () => ({}) }), folder, cached, { ports });
    while (ports.text('0') === '') await new Promise((resolve) => setImmediate(resolve));
    first.detach.abort();
    expect(await first.result).toBe('detached');
    ports.caches.restore = restore;
    const executor = createFakeExecutor({
      task: () => ({ output: ['x\n'] }),
      adopt: () => ({ started: [], answer: () => ({}) }),
    });
    const job = runJob(executor, folder, cached, { ports, assignment: { steps: told(ports, ['one']) } });
    expect(await job.result).toMatchObject({ state: 'succeeded' });
    expect(ports.text('0')).toMatch(
      /^\[impgem\] cache a could not be restored: the disk is slow\n\[impgem\] cache a: not found\n\[impgem\] cache b: not found\nx\n/,
    );
  });

  it('starts a task again of which the executor says that it never ran', async () => {
    const { folder, ports } = await leave(
      spec,
      { task: (task) => (task.id === '0' ? one : { until: forever() }) },
      (seen) => seen.steps()[1]?.state === 'running',
    );
    const error = new ImpGemError('task-not-started', 'never ran');
    const executor = createFakeExecutor({
      task: () => ({ output: ['whole\n'] }),
      adopt: () => ({ started: ['0', '1'], answer: () => ({ error }) }),
    });
    const job = runJob(executor, folder, spec, { ports, assignment: { steps: told(ports, ['one', 'two', 'three']) } });
    expect(await job.result).toMatchObject({ state: 'succeeded' });
    expect(callsOf(executor)).toEqual(['adopt', 'resume 1', 'start 1', 'start 2', 'dispose']);
    expect(ports.text('1')).toBe('whole\n');
  });

  it('goes on when a service is followed no more, before and after, and says so', async () => {
    const services = jobSpec([stepSpec('slow')], { services: [{ name: 'db', run: 'serve', env: {} }] });
    const error = new Error('the stream broke');
    const said = '[impgem] service db is followed no more: the stream broke\n';
    const { folder, ports } = await leave(
      services,
      { service: () => ({ until: Promise.reject(error) }), task: () => ({ output: ['x'], until: forever() }) },
      (seen) => seen.text('job') === said && seen.text('0') === 'x',
    );
    const executor = createFakeExecutor({
      task: () => ({}),
      adopt: () => ({ started: ['service-db', '0'], answer: (id) => (id === '0' ? { output: ['x'] } : { error }) }),
    });
    const job = runJob(executor, folder, services, { ports, assignment: { steps: told(ports, ['slow']) } });
    expect(await job.result).toMatchObject({ state: 'succeeded' });
    expect(ports.text('job')).toBe(said);
  });

  it("counts the job's time from its beginning", async () => {
    const limited = jobSpec([stepSpec('slow', { name: 'two' })], { timeoutMs: 400 });
    const { folder, ports } = await leave(
      limited,
      { task: () => ({ output: ['x'], until: forever() }) },
      (seen) => seen.text('0') === 'x',
    );
    const executor = createFakeExecutor({
      task: () => ({}),
      adopt: () => ({ started: ['0'], answer: () => ({ output: ['x'], until: forever() }) }),
    });
    const job = runJob(executor, folder, limited, { ports, assignment: { steps: told(ports, ['two']) } });
    expect(await job.result).toMatchObject({ state: 'failed', reason: 'timed out after 400ms' });
  });

  it('is not tried with a journal of which a loss of power left half', async () => {
    const { folder, ports } = await leave(
      spec,
      { task: () => ({ until: forever() }) },
      (seen) => seen.reports.length > 0,
    );
    const work = join(folder, 'work');
    const [job = ''] = await readdir(work);
    await writeFile(join(work, job, 'runner/job.json'), '');
    const executor = createFakeExecutor({ task: () => ({}), adopt: () => ({ started: [], answer: () => ({}) }) });
    const again = runJob(executor, folder, spec, {
      ports,
      assignment: { steps: told(ports, ['one', 'two', 'three']) },
    });
    await expect(again.result).rejects.toMatchObject({ code: 'adoption-failed' });
  });

  it('fails before anything is changed when nothing is alive', async () => {
    const { folder, ports } = await leave(
      spec,
      { task: () => ({ until: forever() }) },
      (seen) => seen.reports.length > 0,
    );
    const before = ports.reports.length;
    const executor = createFakeExecutor({ task: () => ({}), adopt: () => undefined });
    const steps = told(ports, ['one', 'two', 'three']);
    const job = runJob(executor, folder, spec, { ports, assignment: { steps, notes: ['worker w1 was lost'] } });
    await expect(job.result).rejects.toMatchObject({ code: 'adoption-failed' });
    const elsewhere = runJob(executor, await temporaryFolder(), spec, { ports, assignment: { steps } });
    await expect(elsewhere.result).rejects.toMatchObject({ code: 'adoption-failed' });
    expect(ports.reports.length).toBe(before);
    expect(ports.text('job')).toBe('');
    expect(callsOf(executor)).toEqual(['adopt']);
    const again = runJob(executor, folder, spec, { ports, assignment: { attempt: 2, notes: ['worker w1 was lost'] } });
    expect(await again.result).toMatchObject({ state: 'succeeded' });
    expect(ports.text('job')).toBe('[impgem] worker w1 was lost\n');
  });
});

describe('a job whose executor is away', () => {
  const spec = jobSpec([stepSpec('slow')]);
  const lose = async (gone: boolean) => {
    const error = new ExecutorLostError('the Docker engine does not answer', { gone });
    const executor = createFakeExecutor({ task: () => ({ output: ['x'], error }) });
    const job = runJob(executor, await temporaryFolder(), spec);
    await expect(job.result).rejects.toBe(error);
    // Nobody hears of an end: the job has not ended.
    expect(job.ports.steps()[0]?.state).toBe('running');
    return { calls: callsOf(executor), leftovers: await readdir(job.folder) };
  };

  it('is let go, for a worker that carries it on when the executor is back', async () => {
    const { calls, leftovers } = await lose(false);
    expect(calls).toEqual(['prepare', 'start 0', 'detach']);
    expect(leftovers).toHaveLength(1);
  });

  it('is cleared away when nothing of it can be carried on', async () => {
    expect(await lose(true)).toEqual({ calls: ['prepare', 'start 0', 'dispose'], leftovers: [] });
  });

  it('is given back with the reason, once nothing more is claimed', async () => {
    const calls: string[] = [];
    const note = (call: string) => (what?: unknown) => Promise.resolve(void calls.push(`${call} ${String(what)}`));
    const held: HeldJob = {
      assignment: assignment(spec),
      report: { step: () => Promise.resolve() },
      cancel: new AbortController().signal,
      lossReason: undefined,
      beginAttempt: () => Promise.reject(new Error('no attempt')),
      end: note('end'),
      handBack: note('hand back'),
      letGo: note('let go'),
    };
    const run = () => Promise.reject(new ExecutorLostError('the engine is away', { gone: false }));
    const log = { info: () => undefined, error: (_: object, message: string) => calls.push(message) };
    const detach = new AbortController().signal;
    await work(held, { runner: { run }, detach, onExecutorLost: note('pause'), log });
    expect(calls).toEqual(['pause undefined', 'hand back the engine is away', 'let go undefined']);
  });
});

describe('a job that another worker has now', () => {
  const spec = jobSpec([stepSpec('slow'), stepSpec('never')]);
  const running: FakeScript = { task: () => ({ output: ['x'], until: forever() }) };
  const startRunning = async (
    ports?: MemoryPorts,
  ): Promise<{ executor: ReturnType<typeof createFakeExecutor>; job: JobRun }> => {
    const executor = createFakeExecutor(running);
    const folder = await temporaryFolder();
    const job = runJob(executor, folder, spec, ports ? { ports } : {});
    if (!ports) while (job.ports.text('0') !== 'x') await new Promise((resolve) => setImmediate(resolve));
    return { executor, job };
  };

  it('is let go, not disposed of, whoever brings the news', async () => {
    const byReport = memoryPorts(await temporaryFolder());
    byReport.report.step = () => Promise.reject(new LostJobError('job test'));
    const byLog = memoryPorts(await temporaryFolder());
    byLog.logs.append = () => Promise.reject(new LostJobError('job test'));
    for (const ports of [byReport, byLog]) {
      const { executor, job } = await startRunning(ports);
      await expect(job.result).rejects.toBeInstanceOf(LostJobError);
      expect(callsOf(executor)).toEqual(['prepare', 'start 0', 'detach']);
    }
    const { executor, job } = await startRunning();
    job.cancel.abort(new LostJobError('job test'));
    await expect(job.result).rejects.toBeInstanceOf(LostJobError);
    await new Promise((resolve) => setImmediate(resolve));
    expect(callsOf(executor)).toEqual(['prepare', 'start 0', 'detach']);
    // The task goes on: it is the new owner's.
    expect(executor.calls.filter(({ call }) => call === 'end')).toEqual([]);
  });

  it('gets not a byte more from here', async () => {
    let release: () => void = () => undefined;
    const executor = createFakeExecutor({
      task: () => ({ output: ['x'], until: new Promise<void>((resolve) => (release = resolve)), code: 1 }),
    });
    const job = runJob(executor, await temporaryFolder(), spec);
    while (job.ports.text('0') !== 'x') await new Promise((resolve) => setImmediate(resolve));
    job.detach.abort();
    expect(await job.result).toBe('detached');
    const before = structuredClone(job.ports.reports);
    release();
    while (!executor.calls.some(({ call }) => call === 'end')) await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    expect(job.ports.reports).toEqual(before);
    expect(job.ports.closed.size).toBe(0);
  });
});
