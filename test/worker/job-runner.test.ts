/** The runner over the real sandbox: what every step and the job end as, and what they leave behind. */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { createSandboxExecutor } from '../../src/executors/sandbox/executor.ts';
import type { JobSpec } from '../../src/runs/plan.ts';
import { freePort } from '../support/free-port.ts';
import { artifact, cache, jobSpec, memoryPorts, stepSpec } from '../support/job-fixture.ts';
import { runJob, type JobRun, type JobRunOptions } from '../support/run-job.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const executor = createSandboxExecutor({ mounts: [], limits: { memory: 1024 ** 3, pids: 512 } });
afterAll(() => executor.close());

const start = async (spec: JobSpec, options: JobRunOptions = {}): Promise<JobRun> =>
  runJob(executor, await temporaryFolder(), spec, options);

describe('order of steps', () => {
  it('is the order of the file, in one workspace', async () => {
    const job = await start(jobSpec([stepSpec('echo one > a'), stepSpec('cat a; echo two >> a'), stepSpec('cat a')]));
    expect(await job.result).toEqual({ state: 'succeeded', outputs: {}, infrastructure: false });
    expect(await job.outcome()).toEqual(['succeeded', 'succeeded', 'succeeded']);
    expect(job.ports.text('1')).toBe('one\n');
    expect(job.ports.text('2')).toBe('one\ntwo\n');
    expect([...job.ports.closed].sort()).toEqual(['0', '1', '2']);
    expect(await job.leftovers()).toEqual([]);
  });

  it('stops at the first failure; steps for failure and always still run', async () => {
    const job = await start(
      jobSpec([
        stepSpec('true', { name: 'fine' }),
        stepSpec('exit 3', { name: 'bad' }),
        stepSpec('true', { name: 'later' }),
        stepSpec('echo notify', { runsOnStatus: 'failure' }),
        stepSpec('echo clean', { runsOnStatus: 'always' }),
      ]),
    );
    expect(await job.result).toEqual({
      state: 'failed',
      reason: 'step bad: failed with exit code 3',
      exitCode: 3,
      outputs: {},
      infrastructure: false,
    });
    expect(await job.outcome()).toEqual(['succeeded', 'failed', 'skipped (step bad failed)', 'succeeded', 'succeeded']);
    expect(job.ports.steps()[1]?.exitCode).toBe(3);
  });

  it('skips what is for failure when nothing failed, and what the planner or `if` decided', async () => {
    const job = await start(
      jobSpec([
        stepSpec('true', { runsOnStatus: 'failure' }),
        stepSpec('true', { skip: 'when: branch is not release' }),
        stepSpec('echo "go=no" >> $IMPGEM_OUTPUT', { name: 'ask' }),
        stepSpec('true', { if: "steps.ask.outputs.go == 'yes'" }),
        stepSpec('true', { if: "steps.ask.outputs.go == 'no'" }),
      ]),
    );
    expect(await job.outcome()).toEqual([
      'skipped (runs only after a failure)',
      'skipped (when: branch is not release)',
      'succeeded',
      "skipped (if: steps.ask.outputs.go == 'yes' is false)",
      'succeeded',
    ]);
  });

  it('is the graph where steps name needs: what has no order runs at the same time', async () => {
    const meet = (mine: string, other: string) => `touch ${mine}; until [ -e ${other} ]; do sleep 0.01; done`;
    const job = await start(
      jobSpec(
        [
          stepSpec('ls', {
            name: 'last',
            needs: [
              { step: 'a', optional: false },
              { step: 'b', optional: false },
            ],
          }),
          stepSpec(meet('a', 'b'), { name: 'a', timeoutMs: 20_000 }),
          stepSpec(meet('b', 'a'), { name: 'b', timeoutMs: 20_000 }),
        ],
        { graph: true },
      ),
    );
    expect(await job.outcome()).toEqual(['succeeded', 'succeeded', 'succeeded']);
    expect(job.ports.text('0')).toBe('a\nb\n');
  });

  it('of a graph skips what stands behind the failure only', async () => {
    const job = await start(
      jobSpec([
        stepSpec('false', { name: 'bad' }),
        stepSpec('true', { name: 'behind', needs: [{ step: 'bad', optional: false }] }),
        stepSpec('true', { name: 'beside' }),
        stepSpec('true', { name: 'rescue', needs: [{ step: 'behind', optional: false }], runsOnStatus: 'failure' }),
      ]),
    );
    expect(await job.outcome()).toEqual(['failed', 'skipped (step bad failed)', 'succeeded', 'succeeded']);
    expect(await job.result).toMatchObject({ state: 'failed' });
  });

  it('does not wait for a background step, and ends it when the others have ended', async () => {
    const job = await start(
      jobSpec([
        stepSpec('touch up; exec sleep 1000', { background: true }),
        stepSpec('until [ -e up ]; do sleep 0.01; done', { timeoutMs: 20_000 }),
      ]),
    );
    expect(await job.outcome()).toEqual(['succeeded (stopped: the other steps had ended)', 'succeeded']);
    expect(await job.result).toMatchObject({ state: 'succeeded' });
  });
});

describe('failures', () => {
  it('pass where they are allowed, by exit code too', async () => {
    const job = await start(
      jobSpec([
        stepSpec('exit 1', { allowFailure: true }),
        stepSpec('exit 2', { allowFailure: [2, 3] }),
        stepSpec('exit 4', { name: 'four', allowFailure: [2, 3] }),
      ]),
    );
    expect(await job.outcome()).toEqual([
      'failed (allowed to fail: exit code 1)',
      'failed (allowed to fail: exit code 2)',
      'failed',
    ]);
    expect(await job.result).toMatchObject({ state: 'failed', exitCode: 4 });
  });

  it('are tried again as often as `retry` says, on its exit codes', async () => {
    const flaky = 'echo try $IMPGEM_RETRY; n=$(cat n || echo 0); echo $((n+1)) > n; [ $n -ge 2 ]';
    const retry = { count: 2, delayMs: 0, infrastructure: false };
    const job = await start(
      jobSpec([
        stepSpec(flaky, { retry }),
        stepSpec('exit 9', { name: 'nine', retry: { ...retry, exitCodes: [8] }, allowFailure: true }),
        stepSpec('exit 8', { name: 'eight', retry: { ...retry, delayMs: 5, exitCodes: [8] } }),
      ]),
    );
    expect(await job.outcome()).toEqual(['succeeded', 'failed (allowed to fail: exit code 9)', 'failed']);
    expect(job.ports.text('0').match(/^try .*|^\[impgem\].*/gm)).toEqual([
      'try 0',
      '[impgem] exit code 1: retry 1 of 2',
      'try 1',
      '[impgem] exit code 1: retry 2 of 2',
      'try 2',
    ]);
    expect(job.ports.text('1')).toBe('');
    expect(job.ports.text('2')).toBe(
      '[impgem] exit code 8: retry 1 of 2 in 5ms\n[impgem] exit code 8: retry 2 of 2 in 5ms\n',
    );
  });

  it('by time limit end the whole process tree, and cleanup runs', async () => {
    const job = await start(
      jobSpec([
        stepSpec('sleep 1000 & sleep 1000', { name: 'slow', timeoutMs: 300 }),
        stepSpec('echo clean', { runsOnStatus: 'always' }),
      ]),
    );
    expect(await job.outcome()).toEqual(['failed (timed out after 300ms)', 'succeeded']);
    expect(await job.result).toMatchObject({ state: 'failed', reason: 'step slow: timed out after 300ms' });
    expect(job.ports.text('0')).toBe('[impgem] timed out after 300ms\n');
  });

  it("by the job's time limit end the job", async () => {
    const job = await start(
      jobSpec([stepSpec('sleep 1000'), stepSpec('true'), stepSpec('true', { runsOnStatus: 'always' })], {
        timeoutMs: 300,
      }),
    );
    expect(await job.outcome()).toEqual([
      'failed (timed out after 300ms)',
      'skipped (the job ended first: timed out after 300ms)',
      'succeeded',
    ]);
    expect(await job.result).toMatchObject({ state: 'failed', reason: 'timed out after 300ms' });
  });

  it('by too much log end the step at the limit', async () => {
    const job = await start(jobSpec([stepSpec('yes', { name: 'chatty' })]), { defaults: { logLimit: 10_240 } });
    expect(await job.outcome()).toEqual(['failed (log limit of 10 KiB reached)']);
    expect(job.ports.text('0')).toBe(`${'y\n'.repeat(5120)}[impgem] log limit of 10 KiB reached\n`);
  });

  it('speak in words where the exit code does not', async () => {
    const job = await start(
      jobSpec([
        stepSpec('printf "no newline"; timeout 0.1 sleep 10', { allowFailure: true }),
        stepSpec('kill -9 $$', { allowFailure: true }),
        stepSpec('kill $$', { allowFailure: true }),
      ]),
    );
    await job.result;
    expect(job.ports.text('0')).toBe('no newline\n[impgem] exit code 124: a command inside the step timed out\n');
    expect(job.ports.text('1')).toContain(
      '[impgem] exit code 137: a process was killed; often it needed more memory (limit 1 GiB)',
    );
    expect(job.ports.text('2')).toContain('[impgem] exit code 143: a process was terminated (SIGTERM)');
  });

  it('that are ours make the job errored, and are tried again where `retry` says so', async () => {
    const ports = memoryPorts(await temporaryFolder());
    ports.workspaces.create = () => Promise.reject(new Error('the remote hung up'));
    const job = await start(jobSpec([stepSpec('true')]), { ports });
    expect(await job.result).toEqual({
      state: 'errored',
      reason: 'internal error: the remote hung up',
      outputs: {},
      infrastructure: true,
    });
    expect(ports.text('job')).toBe('[impgem] internal error: the remote hung up\n');
    expect(await job.leftovers()).toEqual([]);
  });
});

describe('cancel', () => {
  it('ends what runs, and starts nothing more but what always runs', async () => {
    const job = await start(
      jobSpec([
        stepSpec('echo up; sleep 1000'),
        stepSpec('true'),
        stepSpec('echo cleaned', { runsOnStatus: 'always' }),
        stepSpec('true', { runsOnStatus: 'always', if: 'success()' }),
      ]),
    );
    await until(() => job.ports.text('0') === 'up\n', job);
    job.cancel.abort('superseded');
    expect(await job.result).toEqual({
      state: 'cancelled',
      reason: 'superseded',
      outputs: {},
      infrastructure: false,
    });
    expect(await job.outcome()).toEqual([
      'cancelled (superseded)',
      'skipped (the job ended first: superseded)',
      'succeeded',
      'skipped (if: success() is false)',
    ]);
    expect(job.ports.text('2')).toBe('cleaned\n');
    expect(await job.leftovers()).toEqual([]);
  });

  it('gives what always runs so much time and no more', async () => {
    const job = await start(
      jobSpec([
        stepSpec('echo up; sleep 1000'),
        stepSpec('sleep 1000', { runsOnStatus: 'always' }),
        stepSpec('true', { runsOnStatus: 'always' }),
      ]),
      { defaults: { lateMs: 200 } },
    );
    await until(() => job.ports.text('0') === 'up\n', job);
    job.cancel.abort('superseded');
    expect(await job.result).toMatchObject({ state: 'cancelled', reason: 'superseded' });
    const late = 'cancelled (superseded; steps that always run have 200ms then)';
    expect(await job.outcome()).toEqual(['cancelled (superseded)', late, late]);
  });

  it('before the workspace is there does not wait for it', async () => {
    const ports = memoryPorts(await temporaryFolder());
    ports.workspaces.create = async (_assignment, folder, signal) => {
      await once(signal, 'abort');
      await mkdir(join(folder, 'late'), { recursive: true });
      throw new Error('aborted');
    };
    const job = await start(jobSpec([stepSpec('true')]), { ports });
    job.cancel.abort('cancelled by a user');
    expect(await job.result).toMatchObject({ state: 'cancelled', reason: 'cancelled by a user' });
    expect(ports.reports).toEqual([]);
    expect(await job.leftovers()).toEqual([]);
  });
});

describe('what a step hands on', () => {
  it('reaches the later steps, expressions and the outputs of the job', async () => {
    const job = await start(
      jobSpec(
        [
          stepSpec(
            'echo "A=1" >> $IMPGEM_ENV; echo "v=2" >> $IMPGEM_OUTPUT; mkdir bin; printf "#!/bin/sh\necho tool" > bin/tool;' +
              'chmod +x bin/tool; echo $PWD/bin >> $IMPGEM_PATH; echo "# Hi" >> $IMPGEM_SUMMARY',
            { name: 'make' },
          ),
          stepSpec('echo $A $B $C; tool', {
            env: { B: '${{ steps.make.outputs.v }}', C: '${{ env.A }}-${{ env.JOB }}' },
          }),
        ],
        { env: { JOB: '${{ matrix.node }}' }, matrix: { node: 20 }, outputs: { v: 'v${{ steps.make.outputs.v }}' } },
      ),
    );
    expect(await job.result).toMatchObject({ state: 'succeeded', outputs: { v: 'v2' } });
    expect(job.ports.text('1')).toBe('1 2 1-20\ntool\n');
    expect(job.ports.steps()[0]?.summary).toBe('# Hi\n');
  });

  it('fails the step when a line is bad', async () => {
    const job = await start(jobSpec([stepSpec('echo "PATH=/evil" >> $IMPGEM_ENV', { name: 'bad' }), stepSpec('true')]));
    expect(await job.outcome()).toEqual([
      'failed ($IMPGEM_ENV, line 1: PATH is changed through $IMPGEM_PATH, one folder a line)',
      'skipped (step bad failed)',
    ]);
  });

  it('by printing is nothing', async () => {
    const line = '::set-env name=X::evil';
    const job = await start(jobSpec([stepSpec(`echo "${line}"`), stepSpec('echo "${X:-unset}"')]));
    await job.result;
    expect(job.ports.text('0')).toBe(`${line}\n`);
    expect(job.ports.text('1')).toBe('unset\n');
  });

  it('comes from the steps behind it alone when steps run at the same time', async () => {
    const job = await start(
      jobSpec([
        stepSpec('echo X=a >> $IMPGEM_ENV', { name: 'a' }),
        stepSpec('echo X=b >> $IMPGEM_ENV', { name: 'b' }),
        stepSpec('echo $X', { name: 'c', needs: [{ step: 'a', optional: false }] }),
      ]),
    );
    await job.result;
    expect(job.ports.text('2')).toBe('a\n');
  });
});

describe('artifacts', () => {
  it('are kept by glob, also of a failed step where `when` says so', async () => {
    const job = await start(
      jobSpec([
        stepSpec('mkdir -p out/deep; echo 1 > out/a; echo 2 > out/deep/b; echo 3 > out/no.txt', {
          artifacts: [artifact(['out/**', '!out/*.txt'], { name: 'all', expireMs: 1000 }), artifact(['nothing/**'])],
        }),
        stepSpec('echo log > log; false', {
          artifacts: [artifact(['out/no.txt']), artifact(['log'], { when: 'failure' })],
        }),
      ]),
    );
    expect(await job.result).toMatchObject({ state: 'failed' });
    expect(Object.fromEntries(job.ports.artifactText)).toEqual({ 'out/a': '1\n', 'out/deep/b': '2\n', log: 'log\n' });
    expect(job.ports.artifactFiles[0]).toMatchObject({ name: 'all', expiresAt: expect.any(String) });
    expect(job.ports.text('0')).toBe('[impgem] no artifact matches nothing/**\n');
  });

  it('are never links out of the workspace nor special files, and the log says so', async () => {
    const job = await start(
      jobSpec([
        stepSpec('mkdir out; ln -s /etc/passwd out/link; ln -s / out/root; mkfifo out/pipe; echo ok > out/ok', {
          artifacts: [artifact(['out/**'])],
        }),
      ]),
    );
    expect(await job.outcome()).toEqual(['succeeded']);
    expect([...job.ports.artifactText.keys()]).toEqual(['out/ok']);
    for (const path of ['out/link', 'out/root', 'out/pipe'])
      expect(job.ports.text('0')).toMatch(new RegExp(`^\\[impgem\\] artifact ${path} refused: `, 'm'));
  });
});

describe('caches', () => {
  it('are restored before the step, saved after its success, by a key over files', async () => {
    const ports = memoryPorts(await temporaryFolder());
    ports.files['lock'] = 'v1';
    const spec = jobSpec([
      stepSpec('cat dep/x || echo none; mkdir -p dep; echo cached > dep/x', {
        caches: [cache("npm-${{ hash('lock') }}", ['dep'])],
      }),
    ]);
    const first = await start(spec, { ports });
    expect(await first.outcome()).toEqual(['succeeded']);
    expect(ports.text('0')).toMatch(
      /^\[impgem\] cache npm-[0-9a-f]+: not found\n.*none\n\[impgem\] cache npm-[0-9a-f]+: saved\n$/s,
    );
    const again = memoryPorts(await temporaryFolder());
    again.caches = ports.caches;
    again.files['lock'] = 'v1';
    await (
      await start(spec, { ports: again })
    ).result;
    expect(again.text('0')).toMatch(/^\[impgem\] cache npm-[0-9a-f]+: restored\ncached\n$/);
  });

  it('are not saved by a failed step nor by a fork, and a broken cache fails nothing', async () => {
    const failing = await start(jobSpec([stepSpec('touch x; false', { caches: [cache('k', ['x'])] })]));
    await failing.result;
    expect(failing.ports.cacheKeys()).toEqual([]);
    const fork = await start(jobSpec([stepSpec('touch x', { caches: [cache('k', ['x'])] })]), {
      assignment: { trusted: false },
    });
    await fork.result;
    expect(fork.ports.cacheKeys()).toEqual([]);
    const ports = memoryPorts(await temporaryFolder());
    ports.caches.restore = () => Promise.reject(new Error('disk on fire'));
    const broken = await start(jobSpec([stepSpec('touch x', { caches: [cache('k', ['x'])] })]), { ports });
    expect(await broken.outcome()).toEqual(['succeeded']);
    expect(ports.text('0')).toContain('[impgem] cache k could not be restored: disk on fire');
    expect(ports.cacheKeys()).toEqual(['gitea/acme/app refs/heads/main k']);
  });
});

describe('secrets', () => {
  it('reach their steps alone and no log, summary, reason or output', async () => {
    const ports = memoryPorts(await temporaryFolder());
    ports.secretValues.set('KEY', 'hunter22').set('TOKEN', 'tok-123456');
    const job = await start(
      jobSpec(
        [
          stepSpec(
            'echo $KEY ${TOKEN:-none}; echo $KEY | base64; echo "k=$KEY" >> $IMPGEM_OUTPUT; echo $KEY >> $IMPGEM_SUMMARY',
            { name: 'a' },
          ),
          stepSpec('echo $KEY $TOKEN; echo "$KEY" >> $IMPGEM_ENV', { secrets: ['TOKEN'] }),
        ],
        { secrets: ['KEY'], outputs: { k: '${{ steps.a.outputs.k }}' } },
      ),
      { ports },
    );
    expect(await job.result).toMatchObject({ state: 'failed', outputs: { k: '***' } });
    expect(ports.text('0').split('\n')[0]).toBe('*** none');
    expect(ports.text('1').split('\n')[0]).toBe('*** ***');
    const told = JSON.stringify([ports.reports, await job.result, ports.text('0'), ports.text('1')]);
    for (const secret of ['hunter22', 'tok-123456', Buffer.from('hunter22').toString('base64').slice(0, 8)])
      expect(told).not.toContain(secret);
  });

  it('that nobody gave, that are too short, or that a fork asks for end the job errored, each by name', async () => {
    const spec = jobSpec([stepSpec('true', { secrets: ['ONE'] })], { secrets: ['TWO'] });
    const missing = await start(spec);
    expect(await missing.result).toMatchObject({
      state: 'errored',
      reason: 'secrets TWO, ONE are not known for gitea/acme/app',
      infrastructure: false,
    });
    const fork = await start(spec, { assignment: { trusted: false } });
    expect(await fork.result).toMatchObject({
      state: 'errored',
      reason: 'secrets TWO, ONE are not given to a pull request from a fork',
    });
    const ports = memoryPorts(await temporaryFolder());
    ports.secretValues.set('ONE', 'ab').set('TWO', 'long enough');
    const short = await start(spec, { ports });
    expect(await short.result).toMatchObject({ state: 'errored', reason: expect.stringContaining('Secret ONE') });
  });
});

describe('services', () => {
  const serve =
    "echo up; exec node -e 'require(`net`).createServer(s=>s.end(`hello`)).listen(+process.env.PORT,`127.0.0.1`)'";

  it('are ready before the first step and have a log of their own', async () => {
    const port = await freePort();
    const job = await start(
      jobSpec([stepSpec('exec 3<>/dev/tcp/localhost/$PORT; cat <&3')], {
        env: { PORT: String(port) },
        services: [{ name: 'web', run: serve, env: {}, ready: { port, timeoutMs: 20_000 } }],
      }),
    );
    expect(await job.result).toMatchObject({ state: 'succeeded' });
    expect(job.ports.text('0')).toBe('hello');
    expect(job.ports.text('service-web')).toBe('up\n');
    expect(job.ports.closed.has('service-web')).toBe(true);
  });

  it('that do not come up fail the job', async () => {
    const job = await start(
      jobSpec([stepSpec('true')], {
        services: [{ name: 'web', run: 'echo no; exit 4', env: {}, ready: { port: 1, timeoutMs: 20_000 } }],
      }),
    );
    expect(await job.result).toMatchObject({ state: 'failed', reason: expect.stringContaining('web') });
    expect(job.ports.reports).toEqual([]);
    expect(await job.leftovers()).toEqual([]);
  });
});

describe('the folder of a job', () => {
  it('is removed also when a step made it read-only, and never through a link', async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, 'canary'));
    await writeFile(join(folder, 'canary', 'x'), '');
    const job = runJob(
      executor,
      folder,
      jobSpec([stepSpec(`mkdir -p ro/deep; touch ro/deep/x; ln -s ${folder}/canary out; chmod -R a-w ro`)]),
    );
    expect(await job.leftovers()).toEqual([]);
    expect(existsSync(join(folder, 'canary', 'x'))).toBe(true);
  });
});

/** Waits for something that a running job does; fails when the job ends first. */
async function until(holds: () => boolean, job: JobRun): Promise<void> {
  const ended = job.result.then((result) => {
    throw new Error(`the job ended first: ${JSON.stringify(result)}`);
  });
  while (!holds()) await Promise.race([ended, new Promise((resolve) => setImmediate(resolve))]);
  ended.catch(() => undefined);
}
