import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { createForges, FORGE_NAMES } from '../../src/forges/forges.ts';

const SETTINGS = { IMPGEM_GITHUB_URL: 'https://github.com/', IMPGEM_GITHUB_API_URL: 'https://api.github.com' };

test('the drivers that are listed are the drivers that exist', () => {
  const helpers = [
    'forge',
    'forges',
    'parse-delivery',
    'payload',
    'post-status',
    'redeliver',
    'ref-name',
    'signature',
    'skip-words',
  ];
  const files = readdirSync(new URL('../../src/forges', import.meta.url)).map((file) => file.replace(/\.ts$/, ''));
  expect(files.filter((file) => !helpers.includes(file)).sort()).toEqual([...FORGE_NAMES].sort());
});

test('a forge without an address is not there', () => {
  expect([...createForges(SETTINGS).keys()]).toEqual(['github']);
  const both = createForges({ ...SETTINGS, IMPGEM_GITEA_URL: 'https://git.example.com' });
  expect([...both.keys()]).toEqual(['github', 'gitea']);
  for (const [name, forge] of both) expect(forge.name).toBe(name);
});

test('addresses are made of the configured address and owner/name; the token is beside them, not in them', () => {
  const forges = createForges({
    ...SETTINGS,
    IMPGEM_GITHUB_TOKEN: 'tok',
    IMPGEM_GITEA_URL: 'https://git.example.com/sub/',
    IMPGEM_GITEA_TOKEN: 'kot',
  });
  expect(forges.get('github')?.clone('o', 'n')).toEqual({
    url: 'https://github.com/o/n.git',
    credentials: { username: 'x-access-token', password: 'tok' },
  });
  expect(forges.get('gitea')?.clone('o', 'n')).toEqual({
    url: 'https://git.example.com/sub/o/n.git',
    credentials: { username: 'impgem', password: 'kot' },
  });
  expect(forges.get('gitea')?.page('o', 'n')).toBe('https://git.example.com/sub/o/n');
});

test('a Gitea that is not reached over http needs its API address', () => {
  const settings = { ...SETTINGS, IMPGEM_GITEA_URL: 'file:///srv/git' };
  expect(() => createForges(settings)).toThrow(/IMPGEM_GITEA_API_URL/);
  expect(createForges({ ...settings, IMPGEM_GITEA_API_URL: 'http://127.0.0.1:1' }).has('gitea')).toBe(true);
});
