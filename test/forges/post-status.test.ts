import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { CommitStatus, Forge } from '../../src/forges/forge.ts';
import { createGitea } from '../../src/forges/gitea.ts';
import { createGitHub } from '../../src/forges/github.ts';
import { cutDescription, retryAfter } from '../../src/forges/post-status.ts';
import { type FakeForge, startFakeForge } from '../support/fake-forge.ts';

const STATUS: CommitStatus = {
  repository: 'maria/gem',
  sha: 'a'.repeat(40),
  context: 'impgem/test',
  state: 'pending',
  description: 'Pending',
  targetUrl: 'http://127.0.0.1:8000/runs/1',
};
const TOKEN = 'token-canary-123';

let fake: FakeForge;
beforeEach(async () => {
  fake = await startFakeForge();
});
afterEach(() => fake.close());

const github = (): Forge => createGitHub({ url: fake.url, apiUrl: fake.apiUrl, token: TOKEN });
const gitea = (): Forge => createGitea({ url: fake.url, token: TOKEN });
const post = (forge: Forge, change: Partial<CommitStatus> = {}) => forge.postStatus({ ...STATUS, ...change });

describe('a status reaches the forge', () => {
  test.each([
    ['github', github, `Bearer ${TOKEN}`],
    ['gitea', gitea, `token ${TOKEN}`],
  ])('%s', async (_name, make, authorization) => {
    expect(await post(make())).toEqual({ ok: true });
    const { repository, sha, context, state, description, targetUrl } = STATUS;
    expect(fake.posts).toEqual([
      { repository, sha, context, state, description, target_url: targetUrl, authorization },
    ]);
  });

  test('with a description that fits', async () => {
    expect(await post(github(), { description: '💎'.repeat(300) })).toEqual({ ok: true });
    expect(Array.from(fake.posts[0]!.description)).toHaveLength(140);
    expect(fake.posts[0]!.description.endsWith('💎…')).toBe(true);
  });

  test('when the forge answers without a body', async () => {
    fake.next.push({ kind: 'answer', status: 200, body: '' });
    expect(await post(gitea())).toEqual({ ok: true });
  });
});

describe('what did not go well says whether to try again', () => {
  test.each([
    [500, {}, undefined],
    [502, {}, undefined],
    [503, { 'retry-after': '7' }, 7000],
    [429, { 'retry-after': '2' }, 2000],
    [429, {}, undefined],
    [403, { 'retry-after': '60' }, 60_000],
    [408, {}, undefined],
  ])('%i %j: again', async (status, headers, retryAfterMs) => {
    fake.next.push({ kind: 'answer', status, headers });
    const result = await post(github());
    expect(result).toMatchObject({ ok: false, retry: true, status, message: expect.stringContaining(String(status)) });
    expect('retryAfterMs' in result ? result.retryAfterMs : undefined).toBe(retryAfterMs);
  });

  test('403 with a rate limit that is used up: again after its reset', async () => {
    const reset = Math.floor(Date.now() / 1000) + 90;
    const headers = { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': String(reset) };
    fake.next.push({ kind: 'answer', status: 403, headers });
    const result = await post(github());
    expect(result).toMatchObject({ ok: false, retry: true });
    expect((result as { retryAfterMs: number }).retryAfterMs).toBeGreaterThan(60_000);
  });

  test.each([
    [401, /is the token right/],
    [403, /may the token write commit statuses/],
    [404, /is the repository gone/],
    [410, /410/],
    [422, /too many statuses/],
  ])('%i: never, and says what to look at', async (status, words) => {
    fake.next.push({ kind: 'answer', status });
    expect(await post(gitea())).toMatchObject({
      ok: false,
      retry: false,
      status,
      message: expect.stringMatching(words),
    });
  });

  test('a connection that is dropped: again', async () => {
    fake.next.push({ kind: 'drop' });
    expect(await post(github())).toMatchObject({ ok: false, retry: true });
  });

  test('a forge that is not there: again', async () => {
    const forge = github();
    await fake.close();
    expect(await post(forge)).toMatchObject({ ok: false, retry: true, message: expect.stringContaining('reached') });
    fake = await startFakeForge();
  });

  test('a forge that does not answer: again', async () => {
    fake.next.push({ kind: 'hold' });
    const message = expect.stringContaining('did not answer within 10 s');
    expect(await post(github())).toMatchObject({ ok: false, retry: true, message });
  });
});

describe('hostile answers', () => {
  test('a redirect is not followed', async () => {
    let wasCalled = false;
    const inside = createServer((_request, response) => {
      wasCalled = true;
      response.end('{}');
    });
    await new Promise<void>((resolve) => inside.listen(0, '127.0.0.1', resolve));
    const location = `http://127.0.0.1:${(inside.address() as AddressInfo).port}/latest/meta-data`;
    for (const status of [301, 302, 307, 308]) {
      fake.next.push({ kind: 'answer', status, headers: { location } });
      expect(await post(github())).toMatchObject({
        ok: false,
        retry: false,
        message: expect.stringContaining('redirect'),
      });
    }
    await new Promise((resolve) => inside.close(resolve));
    expect(wasCalled).toBe(false);
  });

  test('the token is in no message, whatever the forge says', async () => {
    for (const body of [`{"message":"bad token ${TOKEN}"}`, `<html>${TOKEN}</html>`, TOKEN]) {
      fake.next.push({ kind: 'answer', status: 400, body });
      const result = await post(gitea());
      expect(JSON.stringify(result)).not.toContain(TOKEN);
    }
  });

  test('an endless or binary answer is cut to one short line', async () => {
    for (const body of ['x'.repeat(5_000_000), '\u0000\u001b[31m\r\nx', '{"message":{"a":1}}', '[1]']) {
      fake.next.push({ kind: 'answer', status: 400, body });
      const { message } = (await post(gitea())) as { message: string };
      expect(message.length).toBeLessThan(300);
      expect(message).not.toMatch(/\p{Cc}/u);
    }
  });
});

test('Retry-After: seconds, a date, nonsense', () => {
  const now = Date.parse('2026-11-24T00:00:00Z');
  // The clock of the forge counts: ours may be years away from it.
  const date = new Date(now).toUTCString();
  const of = (headers: Record<string, string>) => retryAfter(new Headers({ date, ...headers }));
  expect(of({ 'retry-after': '3' })).toBe(3000);
  expect(of({ 'retry-after': 'Tue, 24 Nov 2026 00:00:10 GMT' })).toBe(10_000);
  expect(of({ 'retry-after': 'Mon, 23 Nov 2026 00:00:10 GMT' })).toBe(0);
  expect(of({ 'retry-after': 'soon' })).toBeUndefined();
  expect(of({ 'retry-after': '-5x' })).toBeUndefined();
  expect(of({ 'x-ratelimit-remaining': '3', 'x-ratelimit-reset': '99999999999' })).toBeUndefined();
  expect(of({ 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': String(now / 1000 + 5) })).toBe(5000);
  expect(of({})).toBeUndefined();
  const twoHours = 2 * 3_600_000;
  expect(of({ 'retry-after': '999999999' })).toBe(twoHours);
  expect(of({ 'retry-after': 'Tue, 24 Nov 2099 00:00:10 GMT' })).toBe(twoHours);
  expect(of({ 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': String(now / 1000 + 86_400) })).toBe(twoHours);
  expect(retryAfter(new Headers({ 'retry-after': new Date(Date.now() - 5000).toUTCString() }))).toBe(0);
});

test('a description is one line of at most 140 characters', () => {
  expect(cutDescription('a'.repeat(140))).toBe('a'.repeat(140));
  expect(cutDescription('a'.repeat(141))).toBe(`${'a'.repeat(139)}…`);
  expect(cutDescription('a\r\nb\u0000c')).toBe('a b c');
});
