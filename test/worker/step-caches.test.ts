import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { createCacheStore } from '../../src/artifacts/cache-store.ts';
import { saveCaches } from '../../src/worker/step-caches.ts';
import { cache } from '../support/job-fixture.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

it('the log says what of a cache was not kept, and when nothing was', async () => {
  const folder = await temporaryFolder();
  const roots = { workspace: join(folder, 'workspace'), home: join(folder, 'home') };
  for (const name of ['workspace/c', 'workspace/all', 'home/bin']) await mkdir(join(folder, name), { recursive: true });
  await symlink('/etc', join(roots.workspace, 'c/line\nbreak'));
  await symlink('all', join(roots.workspace, 'link'));
  await writeFile(join(roots.workspace, 'all/a\\b'), '1');
  await symlink('../..', join(roots.home, 'bin/x'));
  await symlink('../..', join(roots.home, 'bin/y'));

  const lines: string[] = [];
  const job = {
    store: createCacheStore(join(folder, 'store')),
    scope: { repository: 'gitea/o/r', read: ['main'], write: 'main' },
    roots,
    note: (text: string) => Promise.resolve(void lines.push(text)),
  };
  const caches = { c: ['c'], link: ['link'], all: ['all'], none: ['none', '~/none'], home: ['~/bin'] };
  const held = Object.entries(caches).map(([key, paths]) => ({ spec: cache(key, paths) }));
  await saveCaches(job, held);
  await saveCaches(job, held);
  expect(lines.map((line) => line.replace(/bin[/][xy]/, 'bin/*'))).toEqual([
    String.raw`cache c: saved, without 1 file (first: "c/line\nbreak": it is a link that is absolute or leaves the workspace)`,
    'cache link: not saved, nothing can be kept (first: "link": it is a link; name what it leads to)',
    'cache all: saved',
    'cache none: not saved, there is no none, ~/none',
    'cache home: saved, without 2 files (first: "~/bin/*": it is a link that is absolute or leaves the home folder)',
    // The second time only what was not saved is tried again.
    'cache link: not saved, nothing can be kept (first: "link": it is a link; name what it leads to)',
    'cache none: not saved, there is no none, ~/none',
  ]);
});
