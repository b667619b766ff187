/** Bytes: all of them, in order, as they come. */
import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import type { Bench } from '../conformance.ts';
import { recordOutput, taskOf } from './job.ts';

export function describeOutput(bench: Bench): void {
  it('interleaves stdout and stderr exactly as written', async () => {
    const job = await bench.job();
    const ran = await job.run('for i in {1..200}; do echo "out $i"; echo "err $i" >&2; done');
    const expected = Array.from({ length: 200 }, (_, i) => `out ${i + 1}\nerr ${i + 1}\n`).join('');
    expect(ran.text).toBe(expected);
  });

  it('gives output while the task runs', async () => {
    const job = await bench.job();
    const output = recordOutput();
    const cancel = new AbortController();
    const running = job.sandbox.start(taskOf('printf "no newline"; sleep 1000'), output, { signal: cancel.signal });
    await output.until('no newline');
    cancel.abort();
    await running;
  });

  it('keeps every byte value', async () => {
    const job = await bench.job();
    const ran = await job.run(String.raw`for i in {0..255}; do printf "\\x$(printf %x $i)"; done`);
    expect([...ran.bytes]).toEqual(Array.from({ length: 256 }, (_, i) => i));
  });

  it('keeps a big output whole, with an output that is slower than the task', async () => {
    const job = await bench.job();
    const size = 24 * 1024 * 1024;
    const sum = createHash('sha256');
    let length = 0;
    let biggest = 0;
    const slow = {
      write: async (chunk: Buffer) => {
        sum.update(chunk);
        length += chunk.length;
        biggest = Math.max(biggest, chunk.length);
        await new Promise(setImmediate);
      },
    };
    const signal = new AbortController().signal;
    const script = `yes 0123456789abcdef | head -c ${size}`;
    const exit = await job.sandbox.start(taskOf(`set +o pipefail; ${script}`), slow, { signal });
    const expected = createHash('sha256').update('0123456789abcdef\n'.repeat(size / 17 + 1).slice(0, size));
    expect(exit.code).toBe(0);
    expect(length).toBe(size);
    expect(sum.digest('hex')).toBe(expected.digest('hex'));
    expect(biggest).toBeLessThanOrEqual(4 * 1024 * 1024);
  });

  const only = bench.can.blocksOnOutput ? it : undefined;
  only?.('stops the task while the output does not take its bytes', async () => {
    const job = await bench.job();
    let release = (): void => undefined;
    const open = new Promise<void>((resolve) => {
      release = resolve;
    });
    const first = recordOutput();
    const blocked = {
      write: async (chunk: Buffer) => {
        await first.write(chunk);
        await open;
      },
    };
    // The script writes its progress to the workspace: a full channel must stop it long before the end.
    const script = 'for i in {1..64}; do head -c 1048576 /dev/zero; echo $i > progress; done';
    const signal = new AbortController().signal;
    const running = job.sandbox.start(taskOf(script), blocked, { signal });
    await first.until('\0');
    const probe = await job.run('sleep 0.3; cat progress 2>/dev/null || echo 0');
    expect(Number(probe.text)).toBeLessThan(64);
    release();
    expect((await running).code).toBe(0);
  });

  it('lets a script write to /dev/stdout and /dev/stderr', async () => {
    const job = await bench.job();
    const ran = await job.run('echo out > /dev/stdout; echo err > /dev/stderr');
    expect(ran.text).toBe('out\nerr\n');
  });
}
