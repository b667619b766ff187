import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ownSecrets } from '../../src/cli/own-secrets.ts';
import { readSettings } from '../../src/config/read-settings.ts';

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'impgem-secrets-'));
  file = join(folder, 'secrets.env');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const settings = readSettings({}, '/nonexistent');
const modeOf = async (): Promise<number> => (await stat(file)).mode & 0o777;

it('makes secrets once, for nobody else to read', async () => {
  const first = await ownSecrets(settings, file);
  expect(first).toMatchObject({ made: true, wasOpen: false });
  expect(await modeOf()).toBe(0o600);
  expect(await ownSecrets(settings, file)).toEqual({ env: first.env, made: false, wasOpen: false });
});

it.each([0o644, 0o660, 0o604])('closes a file that was there with mode %o, and says so', async (mode) => {
  // One that is kept, one that is to be made.
  await writeFile(file, 'IMPGEM_API_TOKEN=token-canary\n');
  await chmod(file, mode);
  const { env, made, wasOpen } = await ownSecrets(settings, file);
  expect({ made, wasOpen }).toEqual({ made: true, wasOpen: true });
  expect(await modeOf()).toBe(0o600);
  expect(env['IMPGEM_API_TOKEN']).toBe('token-canary');
  expect(await readFile(file, 'utf8')).toContain(env['IMPGEM_WEBHOOK_SECRET']);
});
