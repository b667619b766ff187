/** A job whose worker shares no disk with the server, over the real HTTP server, which goes away meanwhile. */
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { patienceOf } from '../../src/cli/job-stores.ts';
import { LostJobError } from '../../src/errors.ts';
import { createFakeExecutor, type FakeScript } from '../../src/executors/fake/executor.ts';
import { createHttpLogWriter } from '../../src/logs/http-log-writer.ts';
import { createJobRunner } from '../../src/worker/job-runner.ts';
import { assignment, jobSpec, memoryPorts, stepSpec } from '../support/job-fixture.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { sampleRun, startTestServer, TOKEN } from '../support/test-server.ts';

interface Away {
  count: number;
  is: boolean;
  onAsked: () => void;
}

/** Asked for a run, the server's store answers so while it is set: as it does while Redis is away. */
async function startJob(script: FakeScript, token = TOKEN, limitMs = 60_000) {
  const server = await startTestServer();
  const running = sampleRun();
  server.runs.put(running);
  const get = server.runs.get.bind(server.runs);
  const away: Away = { count: 0, is: false, onAsked: () => undefined };
  server.deps.runs.get = async (id) => {
    if (!away.is) return get(id);
    away.count++;
    away.onAsked();
    throw new Error('Connection is closed.');
  };
  const folder = await temporaryFolder();
  const what = assignment(jobSpec([stepSpec('a', { name: 'a' })], { id: 'build', timeoutMs: limitMs }));
  what.run.id = running.id;
  const [cancel, detach] = [new AbortController(), new AbortController()];
  const { patience, release } = patienceOf({ assignment: what, cancel: cancel.signal }, detach.signal, limitMs);
  const runner = createJobRunner({
    executor: createFakeExecutor(script),
    ports: { ...memoryPorts(folder), logs: createHttpLogWriter({ url: server.url, token }, patience) },
    folder,
    defaults: {
      image: '',
      jobTimeoutMs: limitMs,
      diskLimit: 0,
      logLimit: 1e6,
      limits: { memory: 1e9, pids: 10 },
      trusts: () => false,
    },
  });
  onTestFinished(async () => {
    release();
    await runner.idle();
    await server.close();
  });
  const begin = () => {
    const result = runner.run(what, { cancel: cancel.signal, detach: detach.signal });
    result.catch(() => undefined);
    return result;
  };
  const text = async (): Promise<string> => {
    let all = '';
    const key = { run: running.id, job: 'build', attempt: 1, part: '0' };
    for await (const block of server.deps.logs.read(key, 0)) all += block.toString();
    return all;
  };
  return { away, begin, cancel, detach, patience, text };
}

const OUTPUT: FakeScript = { task: () => ({ output: ['1\n', '2\n', '3\n'] }) };
const hear = (away: Away): Promise<void> => new Promise((resolve) => (away.onAsked = resolve));

describe('a server that is away', () => {
  it('is waited for, however long that takes, and the log is whole', async () => {
    const job = await startJob(OUTPUT);
    vi.useFakeTimers({ toFake: ['performance'] });
    onTestFinished(() => void vi.useRealTimers());
    job.away.is = true;
    job.away.onAsked = () => {
      vi.advanceTimersByTime(600_000);
      if (job.away.count === 3) job.away.is = false;
    };
    expect(await job.begin()).toMatchObject({ state: 'succeeded' });
    expect(await job.text()).toBe('1\n2\n3\n');
  });

  it('holds no worker that is told to stop, nor a job that is another worker’s', async () => {
    for (const end of ['detach', 'loss'] as const) {
      const job = await startJob({ task: () => ({ output: ['1\n'], until: new Promise(() => undefined) }) });
      job.away.is = true;
      const asked = hear(job.away);
      const result = job.begin();
      await asked;
      if (end === 'detach') job.detach.abort();
      else job.cancel.abort(new LostJobError('job build'));
      if (end === 'detach') expect(await result).toBe('detached');
      else await expect(result).rejects.toBeInstanceOf(LostJobError);
      // The step is the next worker's: with another error it would be ended, as its log could not be stored.
      expect(job.patience.lost.reason).toBeInstanceOf(LostJobError);
    }
  });

  it('holds a cancelled job, or one beyond its time limit, for a bounded time', async () => {
    for (const [end, ms] of [
      ['cancel', 70_000],
      ['limit', 100_000 + 120_000],
    ] as const) {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
      onTestFinished(() => void vi.useRealTimers());
      const job = await startJob(OUTPUT, TOKEN, 100_000);
      job.away.is = true;
      const asked = hear(job.away);
      const result = job.begin();
      await asked;
      if (end === 'cancel') job.cancel.abort('cancelled by a person');
      vi.advanceTimersByTime(ms - 1);
      expect(job.patience.enough.aborted).toBe(false);
      vi.advanceTimersByTime(1);
      expect(job.patience.enough.aborted).toBe(true);
      vi.useRealTimers();
      expect(await result).toMatchObject(
        end === 'cancel'
          ? { state: 'cancelled', reason: 'cancelled by a person' }
          : { state: 'failed', reason: 'timed out after 1m40s' },
      );
    }
  });
});

it('a server that refuses the token is the operator’s fault: the job is errored', async () => {
  const job = await startJob(OUTPUT, 'not-the-token-000');
  expect(await job.begin()).toMatchObject({
    state: 'errored',
    infrastructure: true,
    reason: expect.stringContaining('check IMPGEM_API_TOKEN'),
  });
});
