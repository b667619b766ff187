/** Outputs of a job, by the runner over the real sandbox. */
import { afterAll, expect, it } from 'vitest';
import { createSandboxExecutor } from '../../src/executors/sandbox/executor.ts';
import { jobSpec, memoryPorts, stepSpec } from '../support/job-fixture.ts';
import { runJob } from '../support/run-job.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const executor = createSandboxExecutor({ mounts: [], limits: { memory: 1024 ** 3, pids: 512 } });
afterAll(() => executor.close());

const outputs = { key: '${{ steps.a.outputs.key }}', plain: '${{ steps.a.outputs.plain }}' };

it('a secret in an output is masked, and the log of the job says in which', async () => {
  const ports = memoryPorts(await temporaryFolder());
  ports.secretValues.set('KEY', 'hunter22');
  const script = 'echo "key=<$KEY>" >> $IMPGEM_OUTPUT; echo "plain=***" >> $IMPGEM_OUTPUT';
  const spec = jobSpec([stepSpec(script, { name: 'a' })], { secrets: ['KEY'], outputs });
  const job = runJob(executor, await temporaryFolder(), spec, { ports });
  expect(await job.result).toMatchObject({ state: 'succeeded', outputs: { key: '<***>', plain: '***' } });
  expect(ports.text('job')).toBe('[impgem] output key holds a secret: jobs that need this one get *** in its place\n');
});

it('bytes that are no UTF-8 fail the step, and U+FFFD that a step wrote does not', async () => {
  const script = String.raw`printf 'key=\357\277\275\n' >> $IMPGEM_OUTPUT; printf 'A=\377\n' >> $IMPGEM_ENV`;
  const job = runJob(executor, await temporaryFolder(), jobSpec([stepSpec(script, { name: 'a' })], { outputs }));
  expect(await job.outcome()).toEqual(['failed ($IMPGEM_ENV, line 1: the value of A is no UTF-8)']);
  expect(await job.result).toMatchObject({ outputs: { key: '\ufffd' } });
});
