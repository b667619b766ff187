/** Limits hold for the whole tree of a step, and say that it was them. */
import { expect, it } from 'vitest';
import type { Bench } from '../conformance.ts';

const MIB = 1024 * 1024;

export function describeLimits(bench: Bench): void {
  it('ends a step that takes too much memory, and says so', async () => {
    const job = await bench.job();
    // tail keeps the last line, which has no end.
    const ran = await job.run('head -c 300M /dev/zero | tail -n 1 > /dev/null', { limits: { memory: 64 * MIB } });
    expect(ran.exit.code).toBe(137);
    expect(ran.exit.reason).toBe(bench.can.silentOnMemory ? undefined : 'out of memory');
  });

  it('says nothing of memory when a step is killed otherwise', async () => {
    const job = await bench.job();
    const ran = await job.run('kill -9 $$', { limits: { memory: 64 * MIB } });
    expect(ran.exit.code).toBe(137);
    expect(ran.exit.reason).toBeUndefined();
  });

  it('contains a fork bomb', async () => {
    const job = await bench.job();
    const cancel = new AbortController();
    const bomb = job.run(
      'b() { b | b & wait; }; { b; } 2>/dev/null; echo > survived',
      { limits: { pids: 64, memory: 256 * MIB } },
      { signal: cancel.signal, graceMs: 100 },
    );
    const beside = await job.run('echo beside');
    expect(beside.text).toBe('beside\n');
    cancel.abort();
    await bomb;
    expect((await job.run('echo after')).text).toBe('after\n');
  });

  it('limits processes', async () => {
    const job = await bench.job();
    // dash gives up at the first fork that fails; Bash would try again for 15 s.
    const script = 'i=0; while [ $i -lt 100 ]; do i=$((i + 1)); sleep 1000 & echo $i; done';
    const ran = await job.run(script, { limits: { pids: 32 }, shell: 'sh' });
    const started = ran.text.split('\n').filter((line) => /^\d+$/.test(line)).length;
    expect(ran.exit.code).not.toBe(0);
    expect(started).toBeGreaterThan(0);
    expect(started).toBeLessThan(32);
  });

  it('knows what the job takes on the disk, private files included, and no more', async () => {
    const job = await bench.job();
    await job.run(`head -c 20M /dev/urandom > file; mkdir -m 700 private; head -c 20M /dev/urandom > private/file
      ln file private/again; mkdir -m 000 closed; truncate -s 10G hole; head -c 20M /dev/urandom > ~/file; sync`);
    const use = await job.sandbox.diskUse();
    expect(use).toBeGreaterThan(60_000_000);
    expect(use).toBeLessThan(70_000_000);
    await job.run('rm file private/again');
    expect(await job.sandbox.diskUse()).toBeLessThan(50_000_000);
  });

  it('lets a step within its limits be', async () => {
    const job = await bench.job();
    const ran = await job.run('head -c 8M /dev/zero | tail -n 1 | wc -c', {
      limits: { memory: 256 * MIB, pids: 64, cpu: 0.5 },
    });
    expect(ran.text.trim()).toBe(String(8 * MIB));
    expect(ran.exit.reason).toBeUndefined();
  });
}
