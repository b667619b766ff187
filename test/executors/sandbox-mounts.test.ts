import { execa } from 'execa';
import { mkdtemp, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { createNetwork, findNetworkTools } from '../../src/executors/sandbox/network.ts';

it('leaves the mounts of the host alone, those of a Docker engine too, which are shared', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'impgem-mounts-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  // As an engine does: its folder is a shared mount, below which a container's disk is mounted.
  const outer = join(folder, 'engine');
  const inner = join(outer, 'disk');
  await mkdir(outer);
  await execa('mount', ['-t', 'tmpfs', 'outer', outer]);
  onTestFinished(() => execa('umount', ['-l', outer]).then(() => undefined));
  await execa('mount', ['--make-shared', outer]);
  await mkdir(inner);
  await execa('mount', ['-t', 'tmpfs', 'inner', inner]);
  await writeFile(join(inner, 'file'), 'of a container');

  const tools = findNetworkTools();
  if (typeof tools === 'string') throw new Error(tools);
  const network = await createNetwork(tools, folder);
  expect(await readdir(inner)).toEqual(['file']);
  await network.close();
  expect(await readdir(inner)).toEqual(['file']);
});
