import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readSettings } from '../../src/config/read-settings.ts';
import { SettingsSchema } from '../../src/config/schema.ts';
import { parseDuration, parseSize } from '../../src/config/units.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'impgem-settings-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('settings', () => {
  it('have defaults', () => {
    expect(readSettings({}, folder)).toMatchObject({
      IMPGEM_DATA: '.impgem',
      IMPGEM_LISTEN: '127.0.0.1:8000',
      IMPGEM_EXECUTOR: 'auto',
      IMPGEM_CONCURRENCY: 2,
      IMPGEM_ALLOW_FILE: false,
    });
  });

  it('come from the environment, then .env, and secrets from files', async () => {
    await writeFile(
      join(folder, '.env'),
      'IMPGEM_CONCURRENCY=7 # of this machine\nexport IMPGEM_IMAGE="a b"\nIMPGEM_DATA=/x\n',
    );
    await writeFile(join(folder, 'token'), 'a-token-from-a-file\n');
    const settings = readSettings(
      { IMPGEM_DATA: '/y', IMPGEM_API_TOKEN_FILE: 'token', IMPGEM_ALLOW_FILE: 'true' },
      folder,
    );
    expect(settings).toMatchObject({
      IMPGEM_CONCURRENCY: 7,
      IMPGEM_IMAGE: 'a b',
      IMPGEM_DATA: '/y',
      IMPGEM_API_TOKEN: 'a-token-from-a-file',
      IMPGEM_ALLOW_FILE: true,
    });
  });

  it('name every bad key in one error, and never show a secret', () => {
    const bad = {
      IMPGEM_LISTEN: 'nowhere',
      IMPGEM_CONCURRENCY: 'many',
      IMPGEM_EXECUTOR: 'podman',
      IMPGEM_API_TOKEN: 'short',
      IMPGEM_LISTN: 'x',
      IMPGEM_GITEA_TOKEN_FILE: '/does/not/exist',
      IMPGEM_WEBHOOK_SECRET: 'long enough',
      IMPGEM_WEBHOOK_SECRET_FILE: 'twice',
    };
    let message = '';
    try {
      readSettings(bad, folder);
    } catch (error) {
      message = (error as Error).message;
    }
    for (const name of [
      'LISTEN',
      'CONCURRENCY',
      'EXECUTOR',
      'API_TOKEN',
      'LISTN',
      'GITEA_TOKEN_FILE',
      'WEBHOOK_SECRET_FILE',
    ])
      expect(message).toMatch(new RegExp(`IMPGEM_${name}:`));
    expect(message).toMatch(/did you mean IMPGEM_LISTEN/);
    expect(message).toMatch(/must be one of auto, docker, sandbox/);
    expect(message).not.toMatch(/"short"/);
  });

  it.each([
    [
      { IMPGEM_LISTEN: 'nowhere' },
      'IMPGEM_LISTEN: must be an address and a port, such as 127.0.0.1:8000 (is "nowhere")',
    ],
    [{ IMPGEM_JOB_TIMEOUT: '1 hour' }, 'IMPGEM_JOB_TIMEOUT: must be a duration such as 90s, 10m or 1h (is "1 hour")'],
    [{ IMPGEM_CONCURRENCY: 'many' }, 'IMPGEM_CONCURRENCY: must be a whole number (is "many")'],
    [{ IMPGEM_CONCURRENCY: '0' }, 'IMPGEM_CONCURRENCY: must be at least 1 (is "0")'],
    [{ IMPGEM_CONCURRENCY: '257' }, 'IMPGEM_CONCURRENCY: must be at most 256 (is "257")'],
    [{ IMPGEM_STEP_CPU: '0' }, 'IMPGEM_STEP_CPU: must be more than 0 (is "0")'],
    [{ IMPGEM_ALLOW_FILE: 'perhaps' }, 'IMPGEM_ALLOW_FILE: must be true or false (is "perhaps")'],
    [{ IMPGEM_API_TOKEN_FILE: 'none' }, 'IMPGEM_API_TOKEN_FILE: the file "none" does not exist'],
    [{ IMPGEM_API_TOKEN_FILE: '.' }, 'IMPGEM_API_TOKEN_FILE: the file "." is a folder'],
    [
      { IMPGEM_GITHUB_URL: 'https://' },
      'Settings are not valid:\n  IMPGEM_GITHUB_URL: must be a whole address, with a host (is "https://")',
    ],
    [
      { REDIS_URL: 'http://ann:pass@host' },
      'must be an address that begins with redis://, rediss:// or unix:// (is "http://***@host")',
    ],
  ])('of %j are explained in words', (bad, said) => {
    expect(() => readSettings(bad, folder)).toThrow(said);
  });

  it('have a form in words for each pattern', () => {
    const without = Object.entries(SettingsSchema.properties).filter(([, one]) => 'pattern' in one && !('form' in one));
    expect(without).toEqual([]);
  });

  it('of a .env that is there and cannot be read are not as if it were not there', async () => {
    await mkdir(join(folder, '.env'));
    expect(() => readSettings({}, folder)).toThrow('.env: is a folder');
  });

  it('are not disturbed by what every step has', () => {
    expect(readSettings({ IMPGEM_RUN: 'r', IMPGEM_ENV: '/impgem/step/env', IMPGEM: 'true' }, folder)).toBeDefined();
  });

  it('of an empty value are as if not set', () => {
    expect(readSettings({ IMPGEM_CONCURRENCY: '', REDIS_URL: '', IMPGEM_API_TOKEN_FILE: '' }, folder)).toMatchObject({
      IMPGEM_CONCURRENCY: 2,
    });
  });
});

describe('units', () => {
  it.each([
    ['500ms', 500],
    ['90s', 90_000],
    ['10m', 600_000],
    ['1h', 3_600_000],
    ['2d', 172_800_000],
    ['10', undefined],
    ['-1s', undefined],
    ['1h30m', undefined],
  ])('%s is a duration of %s ms', (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });
  it.each([
    ['512m', 536_870_912],
    ['4G', 4_294_967_296],
    ['7', 7],
    ['1t', undefined],
  ])('%s is a size of %s bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });
});
