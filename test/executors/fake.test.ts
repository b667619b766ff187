import { rm } from 'node:fs/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { InfrastructureError } from '../../src/errors.ts';
import type { JobContext, Task } from '../../src/executors/executor.ts';
import { createFakeExecutor, type FakeAnswer } from '../../src/executors/fake/executor.ts';
import { conformance } from './conformance.ts';
import { contextOf, openJob, recordOutput, taskOf } from './conformance/job.ts';

const forever = new Promise<void>(() => undefined);

/** Answers the few commands that the contract's tests use. */
function interpret(task: Task): FakeAnswer {
  const lines = task.script.split('\n').map((line) => line.split(' '));
  const code = lines.find(([command]) => command === 'exit')?.[1];
  return {
    output: lines.filter(([command]) => command === 'echo').map((words) => `${words.slice(1).join(' ')}\n`),
    ...(lines.some(([command]) => command === 'sleep') ? { until: forever } : {}),
    ...(code === undefined ? {} : { code: Number(code) }),
  };
}

conformance('fake', {
  create: () => createFakeExecutor({ task: interpret }),
  image: 'fake',
  can: {
    bash: false,
    images: true,
    limits: false,
    services: false,
    adoption: false,
    blocksOnOutput: true,
    sealsProc: false,
  },
});

describe('fake executor', () => {
  const folders: string[] = [];
  const context = async (): Promise<JobContext> => {
    const made = await contextOf('image', []);
    folders.push(made.folder);
    return made;
  };
  afterEach(async () => {
    for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
  });

  it('records what it was asked, in order', async () => {
    const executor = createFakeExecutor({ task: () => ({ code: 2, handover: { output: 'a=1' } }) });
    const job = await openJob(executor, 'image');
    const { exit } = await job.run('echo');
    await job.close();
    expect(exit).toEqual({ code: 2, handover: { env: '', output: 'a=1', path: '', summary: '' } });
    expect(executor.calls.map(({ call }) => call)).toEqual(['prepare', 'start', 'end', 'dispose']);
  });

  it('fails where it is told to', async () => {
    const gone = new InfrastructureError('engine-gone', 'The engine is gone.');
    const executor = createFakeExecutor({ task: () => ({ error: gone }), prepare: () => gone });
    await expect(executor.prepare(await context())).rejects.toBe(gone);
    const other = createFakeExecutor({ task: () => ({ error: gone }) });
    const job = await openJob(other, 'image');
    await expect(job.run('echo')).rejects.toBe(gone);
    await job.close();
  });

  it('runs a service until the job is disposed of', async () => {
    const executor = createFakeExecutor({ task: interpret, service: () => ({ output: ['up\n'], until: forever }) });
    const job = await openJob(executor, 'image');
    const output = recordOutput();
    const { signal } = new AbortController();
    const service = await job.sandbox.startService({ name: 'db', env: {} }, output, { signal });
    await output.until('up\n');
    await job.close();
    expect(await service.ended).toBe(143);
  });

  it('lets a job be adopted', async () => {
    const adopt = () => ({ started: ['0'], answer: () => ({ output: ['again\n'], code: 4 }) });
    const executor = createFakeExecutor({ task: interpret, adopt });
    const adopted = await executor.adopt(await context());
    const output = recordOutput();
    const exit = await adopted?.resume('0', output, { signal: new AbortController().signal });
    expect(adopted?.started).toEqual(['0']);
    expect([exit?.code, output.text()]).toEqual([4, 'again\n']);
    const next = await adopted?.sandbox.start(taskOf('exit 1'), output, { signal: new AbortController().signal });
    expect(next?.code).toBe(1);
  });
});
