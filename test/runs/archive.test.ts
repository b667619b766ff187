import { mkdir, readdir, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { type FileArchive, createArchive } from '../../src/runs/archive.ts';
import { newRecord } from '../../src/runs/new-record.ts';
import { makeRunId } from '../../src/runs/run-id.ts';
import type { RunRecord } from '../../src/runs/run.ts';
import { jobSpec, planOf, pushEvent } from '../support/plans.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const plan = planOf(jobSpec('a'));
function runOf(cause: string): RunRecord {
  const createdAt = '2026-01-01T00:00:00.000Z';
  const id = makeRunId(createdAt, cause);
  const made = newRecord({ id, event: pushEvent(), sha: 'a'.repeat(40), message: '', author: '', plan, createdAt });
  return { ...made, state: 'succeeded', endedAt: createdAt };
}
async function recordsOf(archive: FileArchive): Promise<RunRecord[]> {
  const found: RunRecord[] = [];
  for await (const record of archive.all()) found.push(record);
  return found;
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
  expect(await recordsOf(archive)).toEqual([whole]);
  expect(told).toEqual(Array(2).fill(expect.stringContaining(`${file} is damaged`)));
  await expect(createArchive(folder).record(damaged.id)).rejects.toMatchObject({ code: 'archive-damaged' });
});

it('what is not ours in the folder is passed by, and what cannot be read is named and left out', async () => {
  const folder = await temporaryFolder();
  const told: string[] = [];
  const archive = createArchive(folder, (message) => told.push(message));
  const [whole, blocked] = [runOf('whole'), runOf('blocked')];
  await archive.write(whole, plan);
  const part = join(folder, whole.id.slice(0, 4));
  // Names that no run has are not even looked at: one that cannot be entered would be told of.
  await symlink('lost+found', join(folder, 'lost+found'));
  await symlink('Loop', join(folder, 'Loop'));
  await writeFile(join(folder, 'README.txt'), 'of the person who runs this');
  await writeFile(join(folder, 'abcd'), 'no folder');
  await writeFile(join(part, 'notes.json'), '{}');
  await mkdir(join(part, `${blocked.id}.json`));
  await symlink('zzzz', join(folder, 'zzzz'));
  expect(await recordsOf(archive)).toEqual([whole]);
  expect(told).toEqual([
    expect.stringContaining(`${join(part, `${blocked.id}.json`)} is a folder`),
    expect.stringContaining(`${join(folder, 'zzzz')} cannot be read (ELOOP)`),
  ]);
  expect(await archive.plan(blocked.id)).toBeUndefined();
  // There is no saying which runs the folder has that cannot be read.
  expect(await Promise.all([whole.id, blocked.id, `zzzz${whole.id.slice(4)}`].map((id) => archive.has(id)))).toEqual(
    Array(3).fill(true),
  );
  expect(await Promise.all([runOf('none').id, `abcd${whole.id.slice(4)}`].map((id) => archive.has(id)))).toEqual([
    false,
    false,
  ]);
});

it('a folder of runs that is no folder holds no run, and a new one is refused in words', async () => {
  const folder = await temporaryFolder();
  const archive = createArchive(folder);
  const run = runOf('x');
  await writeFile(join(folder, run.id.slice(0, 4)), 'no folder');
  expect(await archive.record(run.id)).toBeUndefined();
  expect(await archive.plan(run.id)).toBeUndefined();
  await expect(archive.write(run, plan)).rejects.toMatchObject({ code: 'disk-error' });
});

const run = runOf('no record');
it.each([
  ...['{}', '5', '[]', '"x"', 'null', 'true'],
  ...[{ id: runOf('another').id }, { repository: 5 }, { number: '1' }, { number: 1.5 }, { jobs: {} }].map((change) =>
    JSON.stringify({ ...run, ...change }),
  ),
  ...['pending', 'running', 'done', undefined, null, ['failed']].map((state) => JSON.stringify({ ...run, state })),
])('a first line that is JSON and not this run, finished, is named and left out: %s', async (line) => {
  const folder = await temporaryFolder();
  const told: string[] = [];
  const archive = createArchive(folder, (message) => told.push(message));
  const whole = runOf('whole');
  for (const one of [run, whole]) await archive.write(one, plan);
  const file = join(folder, run.id.slice(0, 4), `${run.id}.json`);
  await writeFile(file, `${line}\n${JSON.stringify(plan)}\n`);
  expect(await recordsOf(archive)).toEqual([whole]);
  expect(told).toEqual([expect.stringContaining(`${file} is damaged`)]);
  expect(archive.recent(run.id)).toBeUndefined();
  await expect(createArchive(folder).record(run.id)).rejects.toMatchObject({ code: 'archive-damaged' });
});
