/** A job that takes more of the disk than it may. */
import { afterEach, beforeAll, afterAll, describe, expect, it, vi } from 'vitest';
import { LostJobError } from '../../src/errors.ts';
import { createDockerExecutor } from '../../src/executors/docker/docker-executor.ts';
import type { Executor } from '../../src/executors/executor.ts';
import { createFakeExecutor } from '../../src/executors/fake/executor.ts';
import { createSandboxExecutor } from '../../src/executors/sandbox/executor.ts';
import { watchDisk } from '../../src/worker/disk-watch.ts';
import { openEngineBench, type EngineBench } from '../support/docker-engine.ts';
import { jobSpec, stepSpec } from '../support/job-fixture.ts';
import { runJob } from '../support/run-job.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const MIB = 1024 * 1024;
const diskLimit = 64 * MIB;
const WHY = 'disk limit of 64 MiB reached';

/** TERM is nothing to it, and it would go on. */
const FILL = `trap '' TERM; i=0; while [ $i -lt 400 ]; do i=$((i + 1)); head -c 2M /dev/urandom >> `;

describe.each(['docker', 'docker, disk not shared', 'sandbox'])('over %s', (name) => {
  let bench: EngineBench | undefined;
  let executor: Executor;
  beforeAll(async () => {
    if (name === 'sandbox') executor = createSandboxExecutor({ mounts: [], limits: {} });
    else {
      bench = await openEngineBench({ sharesDisk: name === 'docker' });
      executor = await createDockerExecutor(bench.options);
    }
  });
  afterAll(async () => {
    await executor.close();
    if (bench) expect(await bench.leftovers()).toEqual([]);
    await bench?.close();
  });

  it('ends at once, says why, and cleans up behind itself', async () => {
    const spec = jobSpec([
      stepSpec('echo small > small', { name: 'small' }),
      stepSpec(`${FILL} big; sleep 0.05; done; rm big`, { name: 'big', allowFailure: true }),
      stepSpec('echo later', { name: 'later' }),
      stepSpec('rm big; cat small', { name: 'clean', runsOnStatus: 'always' }),
    ]);
    const job = runJob(executor, await temporaryFolder(), spec, { defaults: { diskLimit } });
    expect(await job.result).toMatchObject({ state: 'failed', reason: WHY, infrastructure: false });
    expect(await job.outcome()).toEqual([
      'succeeded',
      `failed (allowed to fail: ${WHY})`,
      `skipped (the job ended first: ${WHY})`,
      'succeeded',
    ]);
    expect(job.ports.text('1')).toBe(`[impgem] ${WHY}\n`);
    expect(job.ports.text('3')).toBe('small\n');
    expect(await job.leftovers()).toEqual([]);
  });

  it('ends a service that fills it', async () => {
    const spec = jobSpec(
      [
        stepSpec('until [ -e big ]; do sleep 0.1; done; sleep 100'),
        stepSpec('size=$(stat -c %s big); sleep 1; [ "$(stat -c %s big)" = "$size" ]', { runsOnStatus: 'always' }),
      ],
      { services: [{ name: 'filler', run: `${FILL} big; sleep 0.05; done`, env: {} }] },
    );
    const job = runJob(executor, await temporaryFolder(), spec, { defaults: { diskLimit } });
    expect(await job.outcome()).toEqual([`failed (${WHY})`, 'succeeded']);
  });

  it('ends what is written elsewhere than to the workspace', async () => {
    const place = name === 'sandbox' ? '~/big' : '/var/big';
    const spec = jobSpec([stepSpec(`${FILL} ${place}; sleep 0.05; done`, { name: 'big' })]);
    const job = runJob(executor, await temporaryFolder(), spec, { defaults: { diskLimit } });
    expect(await job.outcome()).toEqual([`failed (${WHY})`]);
  });
});

describe('the watch', () => {
  afterEach(() => vi.useRealTimers());
  const realTimeout = setTimeout;
  const forever = () => new Promise<never>(() => undefined);

  /** Lets as much time pass as it takes. */
  async function pass(until: Promise<unknown>): Promise<void> {
    let over = false;
    void until.then(() => (over = true));
    while (!over) {
      await vi.advanceTimersByTimeAsync(500);
      // The disk is asked for real.
      await new Promise((resolve) => realTimeout(resolve, 5));
    }
  }

  it('goes on: what always runs is ended as well unless it makes room', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    const executor = createFakeExecutor({ task: () => ({ until: forever() }), diskUse: () => diskLimit + 1 });
    const spec = jobSpec([stepSpec('fill'), stepSpec('fill more', { runsOnStatus: 'always' })]);
    const job = runJob(executor, await temporaryFolder(), spec, { defaults: { diskLimit, lateMs: 3_600_000 } });
    const began = performance.now();
    await pass(job.result);
    expect(await job.outcome()).toEqual([`failed (${WHY})`, `failed (${WHY})`]);
    // A minute would be the time of its own; the second look comes soon after the first.
    expect(performance.now() - began).toBeLessThan(30_000);
  });

  it('says in the log of the job when it cannot look, and looks again', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    let looks = 0;
    const diskUse = (): number => {
      looks += 1;
      if (looks < 6) throw new Error('no `du` here');
      return diskLimit + 1;
    };
    const executor = createFakeExecutor({ task: () => ({ until: forever() }), diskUse });
    const spec = jobSpec([stepSpec('fill')], { timeoutMs: 3_600_000 });
    const job = runJob(executor, await temporaryFolder(), spec, { defaults: { diskLimit } });
    await pass(job.result);
    expect(await job.outcome()).toEqual([`failed (${WHY})`]);
    expect(job.ports.text('job').match(/not watched/g)).toHaveLength(1);
    expect(job.ports.text('job')).toContain('its use of the disk is not watched: no `du` here');
  });

  it('goes on where it cannot be told that a look failed, and ends when the job was lost', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    let looks = 0;
    const lost = new Promise<void>((resolve) => {
      const use = (): Promise<number> => {
        looks += 1;
        if (looks === 7) setTimeout(resolve, 120_000);
        return Promise.reject(looks < 7 ? new Error('no room') : new LostJobError('the job'));
      };
      const onFault = (): void => {
        throw new Error('ENOSPC: no room for a note either');
      };
      watchDisk({ limit: diskLimit, use, folder: '/', onOver: () => undefined, onFault });
    });
    await pass(lost);
    expect(looks).toBe(7);
  });

  it('is none where the limit is 0', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    const end = new Promise<void>((resolve) => setTimeout(resolve, 30_000));
    const diskUse = (): number => Number.MAX_SAFE_INTEGER;
    const executor = createFakeExecutor({ task: () => ({ until: end }), diskUse });
    const job = runJob(executor, await temporaryFolder(), jobSpec([stepSpec('fill')]), { defaults: { diskLimit: 0 } });
    await pass(job.result);
    expect(await job.outcome()).toEqual(['succeeded']);
  });
});
