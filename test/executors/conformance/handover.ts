/** The files by which a step hands values on: the step may have put anything in their place. */
import { expect, it } from 'vitest';
import { HANDOVER_LIMIT } from '../../../src/executors/executor.ts';
import type { Bench } from '../conformance.ts';

export function describeHandover(bench: Bench): void {
  it('gives what a step wrote, and starts empty for the next', async () => {
    const job = await bench.job();
    const first = await job.run(
      'cd /impgem/step; echo A=1 > env; echo B=2 > output; echo /x > path; echo "# ü" > summary',
    );
    expect(first.exit.handover).toEqual({ env: 'A=1\n', output: 'B=2\n', path: '/x\n', summary: '# ü\n' });
    const second = await job.run('cat /impgem/step/*');
    expect(second.text).toBe('');
    expect(second.exit.handover).toEqual({ env: '', output: '', path: '', summary: '' });
  });

  it('gives it also when the step fails', async () => {
    const job = await bench.job();
    const ran = await job.run('echo B=2 > /impgem/step/output; exit 3');
    expect(ran.exit).toMatchObject({ code: 3, handover: { output: 'B=2\n' } });
  });

  it('keeps parallel steps apart', async () => {
    const job = await bench.job();
    const ran = await Promise.all(['a', 'b'].map((name) => job.run(`echo ${name} > /impgem/step/output; sleep 0.1`)));
    expect(ran.map((each) => each.exit.handover.output)).toEqual(['a\n', 'b\n']);
  });

  it.each([
    ['a link to a file of the host', 'rm -f env; ln -s /etc/passwd env'],
    ['a link to another of the files', 'echo X=1 > output; rm -f env; ln -s output env'],
    ['a pipe', 'rm -f env; mkfifo env'],
    ['a folder', 'rm -f env; mkdir env; echo A=1 > env/env'],
    ['nothing', 'rm -f env'],
    ['a file without permissions that is empty', 'chmod 000 env'],
  ])('reads nothing from %s', async (_, script) => {
    const job = await bench.job();
    const ran = await job.run(`cd /impgem/step; echo S=1 > summary; ${script}`);
    expect(ran.exit.code).toBe(0);
    expect(ran.exit.handover.env).toBe('');
    expect(ran.exit.handover.summary).toBe('S=1\n');
  });

  it('tells bytes that are no UTF-8 from a character that stands for such', async () => {
    const job = await bench.job();
    const ran = await job.run(String.raw`cd /impgem/step; printf 'A=\377b' > env; printf 'B=\357\277\275' > output`);
    expect(ran.exit.handover).toMatchObject({ env: 'A=\udfffb', output: 'B=\ufffd' });
  });

  it('reads no more than the limit', async () => {
    const job = await bench.job();
    const ran = await job.run(`head -c ${3 * HANDOVER_LIMIT} /dev/zero | tr '\\0' x > /impgem/step/env`);
    expect(ran.exit.handover.env).toBe('x'.repeat(HANDOVER_LIMIT));
  });

  it('is not misled by a sparse file', async () => {
    const job = await bench.job();
    const ran = await job.run('truncate -s 1T /impgem/step/output 2>/dev/null || true');
    expect(ran.exit.handover.output.length).toBeLessThanOrEqual(HANDOVER_LIMIT);
  });
}
