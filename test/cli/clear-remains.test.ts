import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { clearRemains } from '../../src/cli/clear-remains.ts';
import { newRecord } from '../../src/runs/new-record.ts';
import { makeRunId } from '../../src/runs/run-id.ts';
import type { RunRecord } from '../../src/runs/run.ts';
import { jobSpec, planOf, pushEvent } from '../support/plans.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

function recordOf(createdAt: string): RunRecord {
  const id = makeRunId(createdAt, 'test');
  const plan = planOf(jobSpec('build'));
  return {
    ...newRecord({ id, event: pushEvent(), sha: '0'.repeat(40), message: '', author: '', plan, createdAt }),
    number: 1,
  };
}

it('asks for a run when what its job made was seen, however long ago the delivery of the run came', async () => {
  const record = recordOf('2020-01-01T00:00:00Z');
  const runs = new Map<string, RunRecord>();
  const live: boolean[] = [];
  const executor = {
    async reap(isLive: (owner: { run: string; job: string; attempt: number }) => boolean | Promise<boolean>) {
      // Claimed by another worker in this very moment.
      runs.set(record.id, record);
      live.push(await isLive({ run: record.id, job: 'build', attempt: 1 }));
      live.push(await isLive({ run: record.id, job: 'gone', attempt: 1 }));
      return 0;
    },
    removeFolder: () => Promise.resolve(),
  };
  await clearRemains(executor, { get: (id) => Promise.resolve(runs.get(id)) }, await temporaryFolder());
  expect(live).toEqual([true, false]);
});

it('removes the containers of a dead job before its folder, which they may still write to', async () => {
  const work = await temporaryFolder();
  await mkdir(join(work, `${makeRunId('2020-01-01T00:00:00Z', 'gone')}-build-1`));
  const done: string[] = [];
  const executor = {
    reap: () => {
      done.push('containers');
      return Promise.resolve(2);
    },
    removeFolder: () => {
      done.push('folder');
      return Promise.resolve();
    },
  };
  expect(await clearRemains(executor, { get: () => Promise.resolve(undefined) }, work)).toBe(3);
  expect(done).toEqual(['containers', 'folder']);
  expect(await readdir(work)).toHaveLength(1);
});
