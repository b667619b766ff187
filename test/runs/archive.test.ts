import { readdir, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { createArchive } from '../../src/runs/archive.ts';
import { newRecord } from '../../src/runs/new-record.ts';
import { makeRunId } from '../../src/runs/run-id.ts';
import type { RunRecord } from '../../src/runs/run.ts';
import { jobSpec, planOf, pushEvent } from '../support/plans.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const plan = planOf(jobSpec('a'));
function runOf(cause: string): RunRecord {
  const createdAt = '2026-01-01T00:00:00.000Z';
  const id = makeRunId(createdAt, cause);
  return newRecord({ id, event: pushEvent(), sha: 'a'.repeat(40), message: '', author: '', plan, createdAt });
}

it('a run that two servers write at the same time is written', async () => {
  const folder = await temporaryFolder();
  const [one, other] = [createArchive(folder), createArchive(folder)];
  const run = runOf('x');
  await Promise.all(Array.from({ length: 20 }, (_, count) => (count % 2 ? one : other).write(run, plan)));
  expect(await one.record(run.id)).toEqual(run);
  expect(await readdir(join(folder, run.id.slice(0, 4)))).toEqual([`${run.id}.json`]);
});

it('a file that is damaged is named and left out', async () => {
  const folder = await temporaryFolder();
  const told: string[] = [];
  const archive = createArchive(folder, (message) => told.push(message));
  const [damaged, whole] = [runOf('damaged'), runOf('whole')];
  for (const run of [damaged, whole]) await archive.write(run, plan);
  const file = join(folder, damaged.id.slice(0, 4), `${damaged.id}.json`);
  await truncate(file, 100);
  expect(await archive.record(damaged.id)).toBeUndefined();
  const found: RunRecord[] = [];
  for await (const record of archive.all()) found.push(record);
  expect(found).toEqual([whole]);
  expect(told).toEqual(Array(2).fill(expect.stringContaining(`${file} is damaged`)));
  await expect(createArchive(folder).record(damaged.id)).rejects.toMatchObject({ code: 'archive-damaged' });
});
