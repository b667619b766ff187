import { existsSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { createGitea } from '../../src/forges/gitea.ts';
import { skipReason } from '../../src/forges/skip-words.ts';
import { signDelivery } from '../support/fake-forge.ts';

const NOW = '2026-11-24T00:00:00.000Z';
const SHA = 'a'.repeat(40);
const forge = createGitea({ url: 'https://git.example.com', webhookSecret: 'secret' });

const push = (change: object = {}) => ({
  ref: 'refs/heads/main',
  before: 'b'.repeat(40),
  after: SHA,
  head_commit: { message: 'Change', author: { name: 'Maria', email: 'm@example.com' } },
  repository: { full_name: 'maria/gem', default_branch: 'main' },
  ...change,
});
const pull = (change: object = {}, action: unknown = 'opened') => ({
  action,
  pull_request: {
    number: 7,
    title: 'Topic',
    user: { login: 'maria' },
    head: { ref: 'topic', sha: SHA, repo: { full_name: 'maria/gem' } },
    base: { ref: 'main' },
    ...change,
  },
  repository: { full_name: 'maria/gem', default_branch: 'main' },
});

function parse(payload: unknown, event = 'push') {
  const body = typeof payload === 'string' ? payload : JSON.stringify(payload);
  return forge.parse(signDelivery('gitea', 'secret', body, { event }), Buffer.from(body), NOW);
}

function refusal(payload: unknown, event = 'push'): InputError {
  try {
    parse(payload, event);
  } catch (error) {
    expect(error).toBeInstanceOf(InputError);
    return error as InputError;
  }
  throw new Error('was not refused');
}

describe('a body that no forge sends is refused, by the name of the field', () => {
  test.each<[string, unknown]>([
    ['repository.full_name', push({ repository: null })],
    ['repository.full_name', push({ repository: [] })],
    ['repository.full_name', push({ repository: {} })],
    ['repository.full_name', push({ repository: { full_name: 7 } })],
    ['repository.full_name', push({ repository: { full_name: 'maria' } })],
    ['repository.full_name', push({ repository: { full_name: '../../etc' } })],
    ['repository.full_name', push({ repository: { full_name: 'maria/..' } })],
    ['repository.full_name', push({ repository: { full_name: '-oProxyCommand=id/x' } })],
    ['repository.full_name', push({ repository: { full_name: 'maria/gem/x' } })],
    ['repository.full_name', push({ repository: { full_name: 'maria/gem\r\nHost: x' } })],
    ['repository.full_name', push({ repository: { full_name: 'maria/gem\n' } })],
    ['repository.default_branch', push({ repository: { full_name: 'maria/gem', default_branch: '--upload-pack=x' } })],
    ['ref', push({ ref: null })],
    ['ref', push({ ref: 'main' })],
    ['ref', push({ ref: '--upload-pack=touch${IFS}/tmp/impgem-canary' })],
    ['ref', push({ ref: 'refs/heads/--upload-pack=touch${IFS}/tmp/impgem-canary' })],
    ['ref', push({ ref: 'refs/heads/-u:x' })],
    ['ref', push({ ref: 'refs/heads/a..b' })],
    ['ref', push({ ref: 'refs/heads/a\nb' })],
    ['ref', push({ ref: 'refs/heads/a\u0000b' })],
    ['ref', push({ ref: 'refs/heads/a\u0085b' })],
    ['ref', push({ ref: 'refs/heads/a:b' })],
    ['ref', push({ ref: 'refs/heads/+a b' })],
    ['ref', push({ ref: 'refs/heads/../../config' })],
    ['ref', push({ ref: 'refs/heads/x.lock' })],
    ['ref', push({ ref: `refs/heads/${'a'.repeat(2000)}` })],
    ['ref', push({ ref: { toString: 'x' } })],
    ['after', push({ after: 'main' })],
    ['after', push({ after: 'a'.repeat(39) })],
    ['after', push({ after: 'A'.repeat(40) })],
    ['after', push({ after: `--output=${'a'.repeat(31)}` })],
    ['after', push({ after: null })],
    ['before', push({ before: 12 })],
    ['before', push({ before: undefined })],
    ['head_commit.message', push({ head_commit: { message: ['x'] } })],
    ['head_commit.author.name', push({ head_commit: { message: 'x', author: { name: {} } } })],
  ])('push: %s', (field, payload) => {
    expect(refusal(payload)).toMatchObject({ status: 400, message: expect.stringMatching(new RegExp(`^${field}: `)) });
    expect(existsSync('/tmp/impgem-canary')).toBe(false);
  });

  test.each<[string, unknown]>([
    ['pull_request.number', pull({ number: '7' })],
    ['pull_request.number', pull({ number: -1 })],
    ['pull_request.number', pull({ number: 1e300 })],
    ['pull_request.head.ref', pull({ head: null })],
    ['pull_request.head.ref', pull({ head: { ref: '--x', sha: SHA, repo: { full_name: 'maria/gem' } } })],
    ['pull_request.head.ref', pull({ head: { ref: 'HEAD', sha: SHA, repo: { full_name: 'maria/gem' } } })],
    ['pull_request.head.sha', pull({ head: { ref: 'x', sha: '0'.repeat(40), repo: { full_name: 'maria/gem' } } })],
    ['pull_request.head.repo', pull({ head: { ref: 'x', sha: SHA, repo: 'maria/gem' } })],
    ['pull_request.base.ref', pull({ base: { ref: '' } })],
    ['pull_request.number', { ...pull(), pull_request: null }],
    ['action', pull({}, 7)],
  ])('pull_request: %s', (field, payload) => {
    expect(refusal(payload, 'pull_request')).toMatchObject({
      status: 400,
      message: expect.stringMatching(new RegExp(`^${field}: `)),
    });
  });

  test.each([
    ['no JSON', 'hello', 'body-not-json'],
    ['cut JSON', '{"ref": "refs/he', 'body-not-json'],
    ['form-encoded JSON', 'payload=%7B%7D', 'body-not-json'],
    ['a list', '[]', 'payload-invalid'],
    ['null', 'null', 'payload-invalid'],
    ['100,000 levels', '['.repeat(100_000) + ']'.repeat(100_000), 'payload-invalid'],
    ['100,000 levels of objects', '{"a":'.repeat(100_000) + '1' + '}'.repeat(100_000), 'payload-invalid'],
    [
      '100,000 levels of a field',
      `{"repository":{"full_name":"a/b"},"ref":${'['.repeat(100_000)}${']'.repeat(100_000)}}`,
      'payload-invalid',
    ],
    [
      '100,000 levels of a name',
      `{"repository":{"full_name":${'['.repeat(100_000)}${']'.repeat(100_000)}}}`,
      'payload-invalid',
    ],
    ['__proto__ as the repository', '{"__proto__":{"repository":{"full_name":"a/b"}}}', 'payload-invalid'],
  ])('%s', (_what, body, code) => {
    expect(refusal(body)).toMatchObject({ status: 400, code });
  });

  test.each(['x-gitea-event', 'x-gitea-delivery'])('header %s', (name) => {
    const body = Buffer.from(JSON.stringify(push()));
    const headers = signDelivery('gitea', 'secret', body);
    for (const value of [undefined, '', 'a b', 'a/../b', 'x'.repeat(200), 'a\r\nb'])
      expect(() => forge.parse({ ...headers, [name]: value }, body, NOW)).toThrow(new RegExp(`^${name}: `));
  });

  test('any JSON at all is an event, ignored, or refused, and nothing else', () => {
    const anything = fc.jsonValue({ maxDepth: 4 });
    const alike = fc.record({ ref: anything, before: anything, after: anything, repository: anything });
    fc.assert(
      fc.property(fc.oneof(anything, alike), fc.constantFrom('push', 'pull_request', 'create'), (value, event) => {
        try {
          expect(['event', 'ignored']).toContain(parse(value, event).kind);
        } catch (error) {
          expect(error).toBeInstanceOf(InputError);
          expect((error as InputError).status).toBe(400);
        }
      }),
    );
  });
});

describe('what starts nothing says why', () => {
  test.each<[string, unknown]>([
    ['branch deleted', push({ after: '0'.repeat(40), head_commit: null })],
    ['tag deleted', push({ after: '0'.repeat(40), ref: 'refs/tags/v1' })],
    ['branch of the merge queue', push({ ref: 'refs/heads/gh-readonly-queue/main/pr-1-abc' })],
    ['refs/notes/commits is neither a branch nor a tag', push({ ref: 'refs/notes/commits' })],
    ['skipped: the commit message says [skip ci]', push({ head_commit: { message: 'x\n\n[skip ci]' } })],
  ])('%s', (reason, payload) => {
    expect(parse(payload)).toMatchObject({ kind: 'ignored', repository: 'gitea/maria/gem', reason });
  });
});

describe('text that is only shown', () => {
  test('is kept as it is, but for what no environment and no line can hold', () => {
    const parsed = parse(
      push({
        head_commit: {
          message: `<img onerror=alert(1)>\n$(id) \0 \`id\``,
          author: { name: 'Eve\r\nX: y\u001b[31m', email: 'e@x' },
        },
      }),
    );
    expect(parsed).toMatchObject({
      event: { message: '<img onerror=alert(1)>\n$(id)  `id`', author: 'Eve  X: y [31m', authorEmail: 'e@x' },
    });
  });

  test('is cut when it is long', () => {
    const parsed = parse(push({ head_commit: { message: 'x'.repeat(1e6), author: { name: 'y'.repeat(1e6) } } }));
    expect(JSON.stringify(parsed).length).toBeLessThan(20_000);
  });

  test('may be missing', () => {
    expect(parse(push({ head_commit: null, pusher: { login: 'maria' } }))).toMatchObject({
      event: { message: '', author: 'maria' },
    });
  });
});

describe('skip words', () => {
  test.each(['[skip ci]', 'Fix [CI Skip] it', '[No CI]', 'x\n\nskip-checks: true', 'x\n\nSkip-Checks:true\nA: b'])(
    '%j',
    (message) => {
      expect(skipReason('push', message)).toMatch(/^skipped: /);
      expect(skipReason('pull_request', message)).toMatch(/^skipped: /);
      for (const kind of ['tag', 'cron', 'manual', 'api'] as const) expect(skipReason(kind, message)).toBeUndefined();
    },
  );
  test.each(['skip ci', '[skip  ci]', '[skip cia]', 'skip-checks: false', 'no skip-checks: true', ''])(
    'not %j',
    (text) => {
      expect(skipReason('push', text)).toBeUndefined();
    },
  );
});
