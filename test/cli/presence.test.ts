import { execFileSync, spawnSync } from 'node:child_process';
import { rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { createPresence } from '../../src/cli/presence.ts';
import { processStart } from '../../src/process-start.ts';
import type { WorkerEntry, Workers } from '../../src/runs/workers.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

function memoryWorkers(...first: WorkerEntry[]): Workers & { entries: Map<string, WorkerEntry> } {
  const entries = new Map(first.map((entry) => [entry.name, entry]));
  return {
    entries,
    beat: (entry) => Promise.resolve(void entries.set(entry.name, entry)),
    leave: (name) => Promise.resolve(void entries.delete(name)),
    setDrained: () => Promise.resolve(false),
    isDrained: () => Promise.resolve(false),
    live: () => Promise.resolve([...entries.values()]),
  };
}

it('takes no job while the disk is nearly full, says why, and takes them again when there is room', async () => {
  const folder = await temporaryFolder();
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', folder]);
  onTestFinished(() => void spawnSync('umount', ['-l', folder]));
  const workers = memoryWorkers();
  const heard: (string | undefined)[] = [];
  let trouble: string | undefined;
  const presence = createPresence({
    workers,
    name: 'w1',
    labels: ['gpu'],
    folder,
    minFreeBytes: 2 * 1024 ** 2,
    trouble: () => Promise.resolve(trouble),
    onPause: (why) => void heard.push(why),
  });
  await presence.beat();
  expect(await presence.hasRoom()).toBe(true);
  expect(heard).toEqual([]);
  expect(workers.entries.get('w1')).toMatchObject({ labels: ['gpu'] });
  await writeFile(join(folder, 'large'), Buffer.alloc(3 * 1024 ** 2));
  // Between two beats.
  expect(await presence.hasRoom()).toBe(false);
  await presence.beat();
  expect(heard).toEqual(['only 1 MB free on its disk']);
  expect(workers.entries.get('w1')?.paused).toBe('only 1 MB free on its disk');
  await rm(join(folder, 'large'));
  await presence.beat();
  expect(heard).toEqual(['only 1 MB free on its disk', undefined]);
  expect(workers.entries.get('w1')).not.toHaveProperty('paused');
  trouble = 'the Docker engine does not answer';
  await presence.beat();
  expect(workers.entries.get('w1')?.paused).toBe(trouble);
  trouble = undefined;
  await presence.beat();
  expect(heard.slice(2)).toEqual(['the Docker engine does not answer', undefined]);
  await presence.leave();
  await presence.beat();
  expect(workers.entries.size).toBe(0);
});

it('takes no job while the disk has room, but hardly an inode', async () => {
  const folder = await temporaryFolder();
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m,nr_inodes=6000', 'tmpfs', folder]);
  onTestFinished(() => void spawnSync('umount', ['-l', folder]));
  const workers = memoryWorkers();
  const deps = { workers, name: 'w1', labels: [], folder, minFreeBytes: 1, trouble: () => Promise.resolve(undefined) };
  const presence = createPresence({ ...deps, onPause: () => undefined });
  await presence.beat();
  expect(workers.entries.get('w1')).not.toHaveProperty('paused');
  for (let at = 0; at < 1500; at++) await writeFile(join(folder, String(at)), '');
  expect(await presence.hasRoom()).toBe(false);
  expect(workers.entries.get('w1')?.paused).toMatch(/^only 4\d\d\d inodes free on its disk$/);
});

it('that left while it looked whether it could run jobs says nothing more', async () => {
  const workers = memoryWorkers();
  const heard: (string | undefined)[] = [];
  let trouble: () => Promise<string | undefined> = () => Promise.resolve('the Docker engine does not answer');
  const presence = createPresence({
    workers,
    name: 'w1',
    labels: [],
    folder: await temporaryFolder(),
    minFreeBytes: 0,
    trouble: () => trouble(),
    onPause: (why) => void heard.push(why),
  });
  await presence.beat();
  trouble = async () => {
    await presence.leave();
    return undefined;
  };
  await presence.beat();
  expect(heard).toEqual(['the Docker engine does not answer']);
  expect(workers.entries.size).toBe(0);
});

it('knows a living double from its dead predecessor', async () => {
  const folder = await temporaryFolder();
  const double = (change: Partial<WorkerEntry>): Promise<boolean> => {
    const entry = { name: 'w1', labels: [], host: hostname(), pid: 1, start: processStart(1), ...change };
    const deps = {
      workers: memoryWorkers(entry),
      name: 'w1',
      labels: [],
      folder,
      minFreeBytes: 0,
      trouble: () => Promise.resolve(undefined),
    };
    return createPresence({ ...deps, onPause: () => undefined }).hasDouble();
  };
  expect(await double({})).toBe(true);
  expect(await double({ host: 'elsewhere' })).toBe(true);
  expect(await double({ start: 'another process had this pid' })).toBe(false);
  expect(await double({ pid: 2 ** 22 + 1 })).toBe(false);
  expect(await double({ name: 'w2' })).toBe(false);
});
