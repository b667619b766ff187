/** The contract itself, with scripts so small that the fake can answer them too. */
import { expect, it } from 'vitest';
import type { Bench } from '../conformance.ts';
import { recordOutput, taskOf } from './job.ts';

export function describeContract(bench: Bench): void {
  const never = new AbortController().signal;

  it('gives the exit code of the script as a result', async () => {
    const job = await bench.job();
    for (const code of [0, 1, 7, 255]) {
      const ran = await job.run(`exit ${code}`);
      expect(ran.exit.code).toBe(code);
      expect(ran.exit.reason).toBeUndefined();
    }
  });

  it('has written all output when it settles', async () => {
    const job = await bench.job();
    const ran = await job.run('echo one\necho two');
    expect(ran.text).toBe('one\ntwo\n');
    expect(ran.exit.handover).toEqual({ env: '', output: '', path: '', summary: '' });
  });

  it('starts several tasks of a job at once', async () => {
    const job = await bench.job();
    const ran = await Promise.all([1, 2, 3].map((n) => job.run(`echo ${n}\nexit ${n}`)));
    expect(ran.map((each) => [each.text, each.exit.code])).toEqual([
      ['1\n', 1],
      ['2\n', 2],
      ['3\n', 3],
    ]);
  });

  it('keeps several jobs at once apart', async () => {
    const jobs = await Promise.all([1, 2, 3].map(() => bench.job()));
    const ran = await Promise.all(jobs.map((job, n) => job.run(`echo ${n}`)));
    expect(ran.map((each) => each.text)).toEqual(['0\n', '1\n', '2\n']);
  });

  it('ends a task that is cancelled', async () => {
    const job = await bench.job();
    const output = recordOutput();
    const cancel = new AbortController();
    const running = job.sandbox.start(taskOf('echo ready\nsleep 1000'), output, { signal: cancel.signal });
    await output.until('ready\n');
    cancel.abort();
    const exit = await running;
    expect(exit.reason).toBe('cancelled');
    // Bash says so when it sees its child end by TERM before its own TERM arrives.
    expect(output.text().replace('Terminated\n', '')).toBe('ready\n');
  });

  it('does not start a task whose signal is aborted already', async () => {
    const job = await bench.job();
    const ran = await job.run('echo started', {}, { signal: AbortSignal.abort() });
    expect(ran.exit.reason).toBe('cancelled');
    expect(ran.text).toBe('');
  });

  it('waits for the workspace to be ready', async () => {
    let fill = (): void => undefined;
    const ready = new Promise<void>((resolve) => {
      fill = resolve;
    });
    const job = await bench.job({ ready });
    const output = recordOutput();
    const running = job.sandbox.start(taskOf('echo started'), output, { signal: never });
    await new Promise(setImmediate);
    expect(output.text()).toBe('');
    fill();
    await running;
    expect(output.text()).toBe('started\n');
  });

  it('rejects when the workspace could not be filled, and can still be disposed of', async () => {
    const ready = Promise.reject(new Error('no such commit'));
    ready.catch(() => undefined);
    const job = await bench.job({ ready });
    await expect(job.run('echo started')).rejects.toThrow('no such commit');
    await job.sandbox.dispose();
  });

  it('passes on the failure of its output, and ends the task', async () => {
    const job = await bench.job();
    const failing = { write: () => Promise.reject(new Error('log store is gone')) };
    const running = job.sandbox.start(taskOf('echo ready\nsleep 1000'), failing, { signal: never });
    await expect(running).rejects.toThrow('log store is gone');
  });

  it('waits for a slow output: one write at a time', async () => {
    const job = await bench.job();
    let writing = 0;
    let most = 0;
    const slow = {
      write: async () => {
        writing += 1;
        most = Math.max(most, writing);
        await new Promise(setImmediate);
        writing -= 1;
      },
    };
    await job.sandbox.start(taskOf('echo one\necho two\necho three'), slow, { signal: never });
    expect(most).toBe(1);
    expect(writing).toBe(0);
  });

  it('takes a hint of what comes next without harm', async () => {
    const job = await bench.job();
    job.sandbox.expect([taskOf('echo other'), taskOf('exit 3', { shell: 'sh', network: 'none' })]);
    job.sandbox.expect([]);
    job.sandbox.expect([taskOf('echo never comes')]);
    const ran = await job.run('echo this');
    expect(ran.text).toBe('this\n');
  });

  it('can be disposed of twice, also while a task runs, and then takes no task', async () => {
    const job = await bench.job();
    const output = recordOutput();
    const running = job.sandbox.start(taskOf('echo ready\nsleep 1000'), output, { signal: never });
    await output.until('ready\n');
    const settled = Promise.allSettled([running]);
    await Promise.all([job.sandbox.dispose(), job.sandbox.dispose()]);
    await settled;
    await job.sandbox.dispose();
    await expect(job.run('echo late')).rejects.toThrow();
  });

  it('pushes, pulls and lets go without harm', async () => {
    const job = await bench.job();
    await job.sandbox.push();
    const ran = await job.run('echo between');
    await job.sandbox.pull();
    expect(ran.text).toBe('between\n');
  });

  it('adopts nothing that never ran', async () => {
    const job = await bench.job();
    const stranger = { ...job.context, owner: { run: 'no-such-run', job: 'none', attempt: 1 } };
    expect(await bench.executor().adopt(stranger)).toBeUndefined();
  });

  it('says in one line what it is', async () => {
    const line = await bench.executor().describe();
    expect(line).not.toBe('');
    expect(line).not.toContain('\n');
  });
}
