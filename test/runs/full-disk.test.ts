import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { expect, it } from 'vitest';
import { createArtifactStore } from '../../src/artifacts/artifact-store.ts';
import { createArchive } from '../../src/runs/archive.ts';
import { newRecord } from '../../src/runs/new-record.ts';
import { makeRunId } from '../../src/runs/run-id.ts';
import type { RunRecord } from '../../src/runs/run.ts';
import { jobSpec, planOf, pushEvent } from '../support/plans.ts';
import { smallDisk } from '../support/small-disk.ts';

const full = expect.objectContaining({ code: 'disk-full', retryable: true });
const filesIn = async (folder: string): Promise<string[]> =>
  (await readdir(folder, { recursive: true, withFileTypes: true }))
    .filter((one) => one.isFile())
    .map(({ name }) => name);

it('a run that a full disk does not take is not in the archive, and is taken once there is room', async () => {
  const disk = await smallDisk(1024 ** 2);
  const archive = createArchive(join(disk.folder, 'runs'));
  const createdAt = '2026-01-01T00:00:00.000Z';
  const plan = planOf(jobSpec('a'));
  const id = makeRunId(createdAt, 'test');
  const made = newRecord({
    id,
    event: pushEvent(),
    sha: 'a'.repeat(40),
    message: 'm'.repeat(50_000),
    author: 'Ada',
    plan,
    createdAt,
  });
  const record: RunRecord = { ...made, state: 'succeeded', endedAt: createdAt };
  await archive.write(record, plan);
  await archive.remove(id);
  await disk.fill(16 * 1024);
  await expect(archive.write(record, plan)).rejects.toEqual(full);
  expect(await archive.record(id)).toBeUndefined();
  expect(await filesIn(join(disk.folder, 'runs'))).toEqual([]);
  await disk.empty();
  await archive.write(record, plan);
  expect(await archive.record(id)).toEqual(record);
});

it('an artifact that a full disk does not take is not listed, and leaves nothing behind', async () => {
  const disk = await smallDisk(1024 ** 2);
  const store = createArtifactStore(join(disk.folder, 'artifacts'));
  const content = (): Readable => Readable.from([Buffer.alloc(200_000, 'x')]);
  await disk.fill(100_000);
  await expect(store.put('r1', 'build', { path: 'a' }, content())).rejects.toEqual(full);
  expect(await store.manifest('r1')).toEqual([]);
  expect(await filesIn(join(disk.folder, 'artifacts'))).toEqual([]);
  await disk.empty();
  await store.put('r1', 'build', { path: 'a' }, content());
  expect(await store.manifest('r1')).toMatchObject([{ path: 'a', size: 200_000 }]);
});
