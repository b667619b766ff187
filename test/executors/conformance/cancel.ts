/** The end of a step is the end of all that it started. A lock held by a process shows whether that still lives. */
import { expect, it } from 'vitest';
import type { Bench } from '../conformance.ts';
import { recordOutput, taskOf } from './job.ts';

/** Starts a process that nothing but a kill ends, holds the lock, and says so before the script goes on. */
const daemon = (options: string): string => `
mkfifo started
setsid flock lock bash -c '${options} exec 1>&- 2>&-; echo > started; while :; do sleep 1000; done' &
read -r _ < started`;
const isFree = 'flock -n lock echo free || echo held';

export function describeCancel(bench: Bench): void {
  it('lets no daemon outlive its step', async () => {
    const job = await bench.job();
    const ran = await job.run(`${daemon('')}\necho done`);
    expect(ran).toMatchObject({ text: 'done\n', exit: { code: 0 } });
    expect((await job.run(isFree)).text).toBe('free\n');
  });

  it('ends with its script, although a daemon keeps the output open', async () => {
    const job = await bench.job();
    const ran = await job.run('setsid sleep 1000 &\necho done');
    expect(ran).toMatchObject({ text: 'done\n', exit: { code: 0 } });
  });

  it('kills a daemon that ignores TERM when cancelled', async () => {
    const job = await bench.job();
    const output = recordOutput();
    const cancel = new AbortController();
    const script = `${daemon('trap "" TERM HUP INT;')}\necho ready; sleep 1000`;
    const running = job.sandbox.start(taskOf(script), output, { signal: cancel.signal, graceMs: 100 });
    await output.until('ready\n');
    cancel.abort();
    expect((await running).reason).toBe('cancelled');
    expect((await job.run(isFree)).text).toBe('free\n');
  });

  it('sends TERM first, so that a script can clean up', async () => {
    const job = await bench.job();
    const output = recordOutput();
    const cancel = new AbortController();
    const script = 'trap "echo cleaning; echo x > cleaned; exit 9" TERM\necho ready\nsleep 1000 & wait';
    const running = job.sandbox.start(taskOf(script), output, { signal: cancel.signal, graceMs: 20_000 });
    await output.until('ready\n');
    cancel.abort();
    expect(await running).toMatchObject({ reason: 'cancelled', code: 9 });
    expect(output.text()).toBe('ready\ncleaning\n');
    expect((await job.run('cat cleaned')).text).toBe('x\n');
  });

  it('sends TERM to the whole tree', async () => {
    const job = await bench.job();
    const output = recordOutput();
    const cancel = new AbortController();
    // The script waits for its child, which ends only by TERM: no KILL within this test.
    const script = `trap : TERM
bash -c 'trap "echo child; exit 0" TERM; mkfifo gate; exec 3<> gate; echo ready; while :; do read -t 0.05 -u 3; done'
echo parent`;
    const running = job.sandbox.start(taskOf(script), output, { signal: cancel.signal, graceMs: 50_000 });
    await output.until('ready\n');
    cancel.abort();
    await running;
    expect(output.text().replace('Terminated\n', '')).toBe('ready\nchild\nparent\n');
  });

  it('sends KILL after the grace period', async () => {
    const job = await bench.job();
    const output = recordOutput();
    const cancel = new AbortController();
    const script = 'trap "" TERM; echo ready; while :; do sleep 1000; done';
    const running = job.sandbox.start(taskOf(script), output, { signal: cancel.signal, graceMs: 50 });
    await output.until('ready\n');
    cancel.abort();
    expect(await running).toMatchObject({ reason: 'cancelled', code: 137 });
  });

  it('sends KILL at once when it is told so, without TERM', async () => {
    const job = await bench.job();
    const output = recordOutput();
    const cancel = new AbortController();
    const script = 'trap "sleep 1; echo asked" TERM; echo ready; while :; do sleep 0.1; done';
    const running = job.sandbox.start(taskOf(script), output, { signal: cancel.signal, graceMs: 50_000 });
    await output.until('ready\n');
    cancel.abort();
    await job.sandbox.kill();
    expect(await running).toMatchObject({ reason: 'cancelled', code: 137 });
    expect(output.text()).toBe('ready\n');
    expect((await job.run('echo goes on')).text).toBe('goes on\n');
  });

  it('ends a stopped process and a flood of output too', async () => {
    const job = await bench.job();
    const cancel = new AbortController();
    let bytes = 0;
    const counting = {
      write: (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > 1_000_000) cancel.abort();
        return Promise.resolve();
      },
    };
    const script = 'trap "" TERM; sleep 1000 & kill -STOP $!; yes';
    const exit = await job.sandbox.start(taskOf(script), counting, { signal: cancel.signal, graceMs: 50 });
    expect(exit.reason).toBe('cancelled');
  });

  it('runs nothing of a step that was cancelled before the files were there', async () => {
    let fill: () => void = () => undefined;
    const job = await bench.job({ ready: new Promise<void>((resolve) => (fill = resolve)) });
    const cancel = new AbortController();
    const output = recordOutput();
    const running = job.sandbox.start(taskOf('echo ran > ran'), output, { signal: cancel.signal });
    cancel.abort();
    expect(await running).toMatchObject({ reason: 'cancelled' });
    fill();
    expect((await job.run('ls')).text).toBe('');
  });

  it('cancels one of two parallel tasks only', async () => {
    const job = await bench.job();
    const cancel = new AbortController();
    const outputs = [recordOutput(), recordOutput()] as const;
    const script = 'echo ready; read -r _ < gate; echo passed';
    await job.run('mkfifo gate');
    const stopped = job.sandbox.start(taskOf('echo ready; sleep 1000'), outputs[0], { signal: cancel.signal });
    const other = job.sandbox.start(taskOf(script), outputs[1], { signal: new AbortController().signal });
    await Promise.all(outputs.map((output) => output.until('ready\n')));
    cancel.abort();
    expect((await stopped).reason).toBe('cancelled');
    await job.run('echo > gate');
    expect(await other).toMatchObject({ code: 0 });
    expect(outputs[1].text()).toBe('ready\npassed\n');
  });
}
