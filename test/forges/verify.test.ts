import { createHmac } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { Forge } from '../../src/forges/forge.ts';
import { createGitea } from '../../src/forges/gitea.ts';
import { createGitHub } from '../../src/forges/github.ts';
import { signDelivery } from '../support/fake-forge.ts';

const SECRET = 'fixture-secret';
const BODY = Buffer.from('{"message":"ünï"}');
const make = { github: github(SECRET), gitea: gitea(SECRET) };

function github(webhookSecret?: string): Forge {
  const secret = webhookSecret === undefined ? {} : { webhookSecret };
  return createGitHub({ url: 'https://github.com', apiUrl: 'https://api.github.com', ...secret });
}

function gitea(webhookSecret?: string): Forge {
  return createGitea({ url: 'https://git.example.com', ...(webhookSecret === undefined ? {} : { webhookSecret }) });
}

describe.each(['github', 'gitea'] as const)('%s', (name) => {
  const forge = make[name];
  const header = name === 'github' ? 'x-hub-signature-256' : 'x-gitea-signature';
  const good = signDelivery(name, SECRET, BODY);
  const prefix = name === 'github' ? 'sha256=' : '';
  const hmac = (secret: string, body: Buffer, algorithm = 'sha256') =>
    createHmac(algorithm, secret).update(body).digest('hex');

  test('takes what the forge signed', async () => {
    await expect(forge.verify(good, BODY)).resolves.toBeUndefined();
  });

  test.each([
    ['another body', good, Buffer.from('{}')],
    ['an empty body', good, Buffer.alloc(0)],
    ['another secret', signDelivery(name, 'other-secret', BODY), BODY],
    ['an empty secret', { ...good, [header]: prefix + hmac('', BODY) }, BODY],
    ['a digest cut short', { ...good, [header]: good[header]!.slice(0, -1) }, BODY],
    ['a digest in upper case', { ...good, [header]: prefix + hmac(SECRET, BODY).toUpperCase() }, BODY],
    ['SHA-1 under the right name', { ...good, [header]: prefix + hmac(SECRET, BODY, 'sha1') }, BODY],
    ['SHA-1 with its own prefix', { ...good, [header]: `sha1=${hmac(SECRET, BODY, 'sha1')}` }, BODY],
    ['something that is no hex', { ...good, [header]: `${prefix}${'z'.repeat(64)}` }, BODY],
  ])('refuses %s', async (_what, headers, body) => {
    await expect(forge.verify(headers, body)).rejects.toMatchObject({
      code: expect.stringMatching(/^signature-(?:invalid|missing)$/),
      status: 401,
    });
  });

  test.each([
    ['no signature', undefined],
    ['an empty one', ''],
    ['the bare prefix of a forge without a secret', prefix],
  ])('says that there is %s', async (_what, value) => {
    const headers = { ...good, [header]: value };
    await expect(forge.verify(headers, BODY)).rejects.toMatchObject({ code: 'signature-missing', status: 401 });
  });

  test('refuses a SHA-1 signature alone, as old forges send it', async () => {
    const headers = { 'x-hub-signature': `sha1=${hmac(SECRET, BODY, 'sha1')}` };
    await expect(forge.verify(headers, BODY)).rejects.toMatchObject({ code: 'signature-missing', status: 401 });
  });

  test('refuses everything while no secret is set', async () => {
    const open = name === 'github' ? github() : gitea();
    await expect(open.verify(good, BODY)).rejects.toMatchObject({ status: 401 });
    const empty = name === 'github' ? github('') : gitea('');
    await expect(empty.verify(signDelivery(name, '', BODY), BODY)).rejects.toMatchObject({ status: 401 });
  });

  test('refuses a body that is not UTF-8, however it is signed', async () => {
    const body = Buffer.from([0x7b, 0xff, 0xfe, 0x7d]);
    await expect(forge.verify(signDelivery(name, SECRET, body), body)).rejects.toMatchObject({ status: 400 });
  });
});

test("Gitea's signature is looked for under its own name only", async () => {
  const headers = signDelivery('github', SECRET, BODY);
  await expect(make.gitea.verify(headers, BODY)).rejects.toMatchObject({ code: 'signature-missing' });
});
