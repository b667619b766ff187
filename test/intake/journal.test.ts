import { execFileSync, spawnSync } from 'node:child_process';
import { appendFile, mkdir, open as openFile, readdir, rename, rmdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { type Journal, openJournal } from '../../src/intake/journal.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const MB = 1024 ** 2;
const open = (folder: string, maxBytes = MB): Promise<Journal<number>> => openJournal<number>({ folder, maxBytes });
const filesIn = async (folder: string): Promise<string[]> =>
  (await readdir(folder)).filter((name) => !name.startsWith('.'));

/** What a server would replay that came after all of these were killed. */
async function whatIsLeft(folder: string): Promise<number[]> {
  const found: number[] = [];
  const journal = await open(folder);
  await journal.replay((entry) => Promise.resolve(void found.push(entry)));
  await journal.close();
  return found;
}

/** As a kill -9 leaves it: the file has the name of a process that is gone. */
async function killOwner(folder: string): Promise<void> {
  for (const name of await filesIn(folder)) await rename(join(folder, name), join(folder, dead(name)));
}
/** The pid is alive, but as another process: its start differs. */
const dead = (name: string): string => name.replace(/-\d+\.jsonl$/, '-1.jsonl');

describe('journal', () => {
  it('hands over in order, once, and leaves no file', async () => {
    const folder = await temporaryFolder();
    const journal = await open(folder);
    await Promise.all([1, 2, 3].map((entry) => journal.append(entry)));
    await journal.append(4);
    expect(journal.pending()).toBe(4);
    const seen: number[] = [];
    await journal.replay((entry) => Promise.resolve(void seen.push(entry)));
    expect(seen).toEqual([1, 2, 3, 4]);
    expect(journal.pending()).toBe(0);
    expect(await filesIn(folder)).toEqual([]);
    await journal.close();
  });

  it('syncs the folder once for every file that it makes, before the first answer', async () => {
    const folder = await temporaryFolder();
    const journal = await open(folder);
    const probe = await openFile(folder);
    const prototype = Object.getPrototypeOf(probe) as typeof probe;
    await probe.close();
    const sync = vi.spyOn(prototype, 'sync');
    const synced = async (): Promise<string[]> => {
      const kinds = await Promise.all(kindsOf);
      kindsOf.length = 0;
      return kinds;
    };
    const kindsOf: Promise<string>[] = [];
    sync.mockImplementation(function (this: typeof probe) {
      kindsOf.push(this.stat().then((found) => (found.isDirectory() ? 'folder' : 'file')));
      return this.datasync();
    });
    try {
      await journal.append(1);
      expect(await synced()).toEqual(['file', 'folder']);
      await journal.append(2);
      expect(await synced()).toEqual(['file']);
      await journal.replay(() => Promise.resolve());
      await journal.append(3);
      expect(await synced()).toEqual(['file', 'folder']);
    } finally {
      sync.mockRestore();
    }
    await journal.replay(() => Promise.resolve());
    await journal.close();
  });

  it('goes on where a replay failed', async () => {
    const journal = await open(await temporaryFolder());
    for (const entry of [1, 2, 3]) await journal.append(entry);
    const seen: number[] = [];
    await expect(
      journal.replay((entry) =>
        entry === 2 ? Promise.reject(new Error('Redis is away')) : Promise.resolve(void seen.push(entry)),
      ),
    ).rejects.toThrow('Redis is away');
    expect(journal.pending()).toBe(3);
    seen.length = 0;
    await journal.replay((entry) => Promise.resolve(void seen.push(entry)));
    expect(seen).toEqual([1, 2, 3]);
    await journal.close();
  });

  it('refuses what does not fit, and takes more once it was replayed', async () => {
    const journal = await openJournal<string>({ folder: await temporaryFolder(), maxBytes: 30 });
    await journal.append('x'.repeat(20));
    await expect(journal.append('y'.repeat(20))).rejects.toMatchObject({ code: 'journal-full', retryable: true });
    expect(journal.pending()).toBe(1);
    await journal.replay(() => Promise.resolve());
    await journal.append('y'.repeat(20));
    await journal.close();
  });

  it('keeps what it acknowledged, in order, over any interleaving of appends, replays and kills', async () => {
    const step = fc.oneof(
      { weight: 5, arbitrary: fc.constant('append' as const) },
      { weight: 2, arbitrary: fc.constant('replay' as const) },
      { weight: 1, arbitrary: fc.constant('replay that stops' as const) },
      { weight: 1, arbitrary: fc.constant('kill' as const) },
      { weight: 1, arbitrary: fc.constant('wait' as const) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const folder = await temporaryFolder();
        let journal = await open(folder);
        let next = 0;
        const seen: number[] = [];
        const acknowledged: number[] = [];
        let under: Promise<unknown>[] = [];
        for (const what of steps) {
          if (what === 'append') {
            const entry = next++;
            under.push(journal.append(entry).then(() => acknowledged.push(entry)));
          } else if (what === 'kill') {
            await Promise.all(under);
            await killOwner(folder);
            journal = await open(folder);
          } else if (what === 'wait') {
            await Promise.all(under);
            under = [];
          } else {
            let left = what === 'replay' ? Number.POSITIVE_INFINITY : 1;
            let away = false;
            const take = (entry: number): Promise<void> => {
              away ||= left-- <= 0;
              return away ? Promise.reject(new Error('away')) : Promise.resolve(void seen.push(entry));
            };
            under.push(journal.replay(take).catch(() => undefined));
          }
        }
        await Promise.all(under);
        await killOwner(folder);
        const all = [...seen, ...(await whatIsLeft(folder))];
        // A kill between the handing over and the end of the file hands over again; never lost, never out of order.
        expect(new Set(all)).toEqual(new Set(acknowledged));
        const firsts = all.filter((entry, index) => all.indexOf(entry) === index);
        expect(firsts).toEqual([...firsts].sort((a, b) => a - b));
      }),
      { numRuns: 60 },
    );
  });

  it('drops a last line that was torn: it was never answered', async () => {
    const folder = await temporaryFolder();
    const journal = await open(folder);
    await journal.append(1);
    const [name = ''] = await filesIn(folder);
    await appendFile(join(folder, name), '{"half');
    await killOwner(folder);
    expect(await whatIsLeft(folder)).toEqual([1]);
  });

  it('loses no line that follows one which a full disk tore', async () => {
    const disk = await temporaryFolder();
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk]);
    try {
      const journal = await openJournal<string>({ folder: disk, maxBytes: MB });
      await journal.append('first');
      await expect(journal.append('x'.repeat(200_000))).rejects.toMatchObject({
        code: 'journal-disk',
        retryable: true,
      });
      // What was written of it takes no room.
      await journal.append('last');
      await killOwner(disk);
      const seen: string[] = [];
      const next = await openJournal<string>({ folder: disk, maxBytes: MB });
      await next.replay((entry) => Promise.resolve(void seen.push(entry)));
      await next.close();
      expect(seen).toEqual(['first', 'last']);
    } finally {
      spawnSync('umount', ['-l', disk]);
    }
  });

  it('leaves alone what lives, and takes over what a dead server left, once', async () => {
    const folder = await temporaryFolder();
    const [living, first, second] = [await open(folder), await open(folder), await open(folder)];
    await living.append(7);
    expect(await first.adopt()).toBe(0);
    const [name = ''] = await filesIn(folder);
    await writeFile(join(folder, dead(name)), '1\n2\n');
    const counts = await Promise.all([first.adopt(), second.adopt()]);
    expect([...counts].sort()).toEqual([0, 2]);
    expect(living.pending()).toBe(1);
    for (const journal of [living, first, second]) await journal.close();
  });

  it('leaves where it was what cannot be read, and takes it over when it can', async () => {
    const folder = await temporaryFolder();
    const said: string[] = [];
    const journal = await openJournal<number>({ folder, maxBytes: MB, onError: (message) => said.push(message) });
    await journal.append(7);
    const [own = ''] = await filesIn(folder);
    await mkdir(join(folder, dead(own)));
    expect(await journal.adopt()).toBe(0);
    expect(said).toEqual([expect.stringMatching(/cannot be read: EISDIR/)]);
    await journal.replay(() => Promise.resolve());
    expect(await filesIn(folder)).toEqual([dead(own)]);
    await rmdir(join(folder, dead(own)));
    await writeFile(join(folder, dead(own)), '8\n');
    expect(await journal.adopt()).toBe(1);
    await journal.close();
  });

  it('a replay that ends while a file is read leaves it there', async () => {
    const folder = await temporaryFolder();
    const journal = await open(folder);
    await journal.append(7);
    const [own = ''] = await filesIn(folder);
    // A pipe: reading it ends when we say so.
    execFileSync('mkfifo', [join(folder, dead(own))]);
    const adopting = journal.adopt();
    await expect.poll(() => filesIn(folder)).not.toContain(dead(own));
    const seen: number[] = [];
    const replaying = journal.replay((entry) => Promise.resolve(void seen.push(entry)));
    await expect.poll(() => journal.pending()).toBe(0);
    const [pipe = ''] = (await filesIn(folder)).filter((name) => name !== own);
    await writeFile(join(folder, pipe), '8\n');
    expect(await adopting).toBe(1);
    await replaying;
    expect([seen, journal.pending()]).toEqual([[7], 1]);
    expect(await filesIn(folder)).toContain(pipe);
    await journal.close();
  });

  it('counts bytes, not characters', async () => {
    const journal = await openJournal<string>({ folder: await temporaryFolder(), maxBytes: 40 });
    await expect(journal.append('€'.repeat(20))).rejects.toMatchObject({ code: 'journal-full' });
    await journal.append('e'.repeat(20));
    await journal.close();
  });

  it('takes over a file of another machine only when it was silent for long', async () => {
    const folder = await temporaryFolder();
    const name = '0mwue000-aaaaaaaa-00000000-1-1.jsonl';
    await writeFile(join(folder, name), '5\n');
    const journal = await open(folder);
    expect(journal.pending()).toBe(0);
    const old = new Date(Date.now() - 120_000);
    await utimes(join(folder, name), old, old);
    expect(await journal.adopt()).toBe(1);
    await journal.close();
  });
});
