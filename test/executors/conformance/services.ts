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

  it('runs its script and the command that asks in the workspace, as a step, with its home', async () => {
    const job = await bench.job();
    const output = recordOutput();
    const service = await job.sandbox.startService(
      {
        name: 'place',
        run: 'pwd; echo "$HOME"; : > here; until [ -e go ]; do sleep 0.02; done',
        env: {},
        ready: { command: 'test -f here', timeoutMs: 20_000 },
      },
      output,
      { signal },
    );
    const ran = await job.run('pwd; echo "$HOME"; ls; : > go');
    await service.ended;
    expect(output.text()).toBe('/workspace\n/impgem/home\n');
    expect(ran.text).toBe(`${output.text()}here\n`);
  });

  it('says how the last try of a command that asks ended, and in the log what it said', async () => {
    const job = await bench.job();
    const start = async (command: string) => {
      const output = recordOutput();
      // What it says beside that has no line end: ours begins on a line of its own.
      const service = { name: 'db', run: 'printf up; sleep 1000', env: {}, ready: { command, timeoutMs: 4000 } };
      const error: unknown = await job.sandbox.startService(service, output, { signal }).catch((e: unknown) => e);
      return { message: error instanceof Error ? error.message : '', text: output.text() };
    };
    const late = 'The service db was not ready within 4000 ms';
    const seen = (line: string) => `up\n[impgem] last output of the ready command of service db: ${line}\n`;
    const long = 'head -c 20000 /dev/zero | tr "\\0" x; exit 3';
    const [failed, silent, hanging, cut] = await Promise.all([
      start('echo first; echo "no role $PWD" >&2; exit 7'),
      start('exit 4'),
      start('echo waiting; sleep 1000'),
      start(long),
    ]);
    expect(failed).toEqual({
      message: `${late}: its ready command ended with exit code 7, and what it said is in the log of the service`,
      text: seen('no role /workspace'),
    });
    expect(silent).toEqual({
      message: `${late}: its ready command ended with exit code 4, and said nothing`,
      text: 'up',
    });
    expect(hanging).toEqual({
      message: `${late}: its ready command did not end, and what it said is in the log of the service`,
      text: seen('waiting'),
    });
    // Half a line might end in half a secret, which no log would know for one.
    expect(cut.text).toBe(seen('(a line of more than 4096 bytes)'));
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
