/** Services with a `run` script work in every executor. */
import { expect, it } from 'vitest';
import type { Bench } from '../conformance.ts';
import { recordOutput } from './job.ts';

export function describeServices(bench: Bench): void {
  const signal = new AbortController().signal;

  it('starts a service, waits until its command says ready, and stops it with the job', async () => {
    const job = await bench.job();
    const output = recordOutput();
    const service = await job.sandbox.startService(
      {
        name: 'db',
        run: 'echo starting; sleep 0.2; echo up > /workspace/up; exec sleep 1000',
        env: { A: 'b' },
        ready: { command: 'test -f /workspace/up', timeoutMs: 20_000 },
      },
      output,
      { signal },
    );
    expect((await job.run('cat up; getent hosts db | wc -l')).text).toBe('up\n1\n');
    await job.sandbox.dispose();
    await service.ended;
    expect(output.text()).toBe('starting\n');
  });

  it('fails when the service ends before it is ready', async () => {
    const job = await bench.job();
    const output = recordOutput();
    const starting = job.sandbox.startService(
      { name: 'db', run: 'echo broken; exit 3', env: {}, ready: { command: 'false', timeoutMs: 20_000 } },
      output,
      { signal },
    );
    await expect(starting).rejects.toMatchObject({ code: 'service-failed' });
    expect(output.text()).toBe('broken\n');
  });

  it('fails when the service is not ready in time', async () => {
    const job = await bench.job();
    const starting = job.sandbox.startService(
      { name: 'db', run: 'sleep 1000', env: {}, ready: { command: 'false', timeoutMs: 300 } },
      recordOutput(),
      { signal },
    );
    await expect(starting).rejects.toMatchObject({ code: 'service-not-ready' });
  });

  it('waits for a port, which steps reach by the name of the service', async () => {
    const job = await bench.job();
    const port = 20_000 + (process.pid % 20_000);
    const perl = `perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(LocalPort => ${port}, Listen => 5, ReuseAddr => 1) or die; while (my $c = $s->accept) { print $c "hello\\n"; close $c }'`;
    await job.sandbox.startService(
      { name: 'greeter', run: perl, env: {}, ready: { port, timeoutMs: 20_000 } },
      recordOutput(),
      { signal },
    );
    const ran = await job.run(`exec 3<> /dev/tcp/greeter/${port}; cat <&3`);
    expect(ran.text).toBe('hello\n');
  });

  it('stops waiting when it is cancelled', async () => {
    const job = await bench.job();
    const cancel = new AbortController();
    const output = recordOutput();
    const starting = job.sandbox.startService(
      { name: 'db', run: 'echo up; sleep 1000', env: {}, ready: { command: 'false', timeoutMs: 60_000 } },
      output,
      { signal: cancel.signal },
    );
    await output.until('up\n');
    cancel.abort();
    await expect(starting).rejects.toThrow();
  });

  it('starts none that outlives the job which is disposed of meanwhile', async () => {
    const job = await bench.job();
    const output = recordOutput();
    const starting = job.sandbox.startService({ name: 'db', run: 'exec sleep 1000', env: {} }, output, { signal });
    const ended = starting.then((service) => service.ended).catch(() => undefined);
    await job.sandbox.dispose();
    await ended;
    const late = job.sandbox.startService({ name: 'late', run: 'exec sleep 1000', env: {} }, output, { signal });
    await expect(late).rejects.toThrow();
  });

  it('knows the code of a service that ends by itself', async () => {
    const job = await bench.job();
    const service = await job.sandbox.startService({ name: 'once', run: 'exit 5', env: {} }, recordOutput(), {
      signal,
    });
    expect(await service.ended).toBe(5);
  });
}
