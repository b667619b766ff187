import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { createGitea } from '../../src/forges/gitea.ts';
import { createGitHub } from '../../src/forges/github.ts';

const FOLDER = new URL('../fixtures/gitea/', import.meta.url);
const FILES = readdirSync(FOLDER).filter((file) => file.endsWith('.json'));
const NOW = '2026-11-24T00:00:00.000Z';
const forge = createGitea({ url: 'http://127.0.0.1:3080', webhookSecret: 'fixture-secret' });

function load(file: string): { headers: Record<string, string>; body: Buffer } {
  const { headers, body } = JSON.parse(readFileSync(new URL(file, FOLDER), 'utf8'));
  return { headers, body: Buffer.from(body) };
}

/** What each real delivery means: the event's main fields, or why it is ignored. */
const EXPECTED: Record<string, object | string> = {
  '001-push-test-button': { kind: 'push', ref: 'refs/heads/main', branch: 'main', message: 'Initial commit\n' },
  '002-push-one-commit': {
    kind: 'push',
    branch: 'main',
    before: '068aff2170dcafb5bd26256694ff3433e3cc8be9',
    sha: 'd954e947d61acd5164f24e3ab2c53e8fb12c23e1',
    message: 'Add pipeline\n',
    defaultBranch: 'main',
  },
  '003-push-two-commits-skip-ci-second-to-last': { kind: 'push', branch: 'main' },
  '004-push-tag-light': { kind: 'tag', ref: 'refs/tags/v1.0.0', tag: 'v1.0.0' },
  '005-create-tag': 'event create starts nothing',
  '006-push-tag-annotated': { kind: 'tag', tag: 'v1.1.0', sha: '0e1f4f74bcdf5a01d8d93b0f80669467c878e187' },
  '008-create-branch-unicode': 'event create starts nothing',
  '009-push-new-branch-unicode': { kind: 'push', branch: 'fix/ünï-1' },
  '010-push-force-backwards': {
    kind: 'push',
    branch: 'fix/ünï-1',
    before: '87648934e0f3d00525e19ca836b0275baa8d8032',
    sha: 'b58c01a04217ff6a9164f990acd6f45102cf7a68',
  },
  '011-push-tag-deleted': 'tag deleted',
  '012-delete-tag': 'event delete starts nothing',
  '013-delete-branch': 'event delete starts nothing',
  '015-push-new-branch': { kind: 'push', branch: 'topic' },
  '016-pull-request-opened': {
    kind: 'pull_request',
    ref: 'refs/pull/1/head',
    branch: 'main',
    pullRequest: expect.objectContaining({
      number: 1,
      title: 'Topic',
      action: 'opened',
      sourceBranch: 'topic',
      targetBranch: 'main',
      fork: false,
    }),
  },
  '018-push-new-branch-shell-characters': { kind: 'push', branch: 'feature/$(id)"q;&|' },
  '019-pull-request-closed': 'pull request closed: nothing new to build',
  '020-pull-request-reopened': { kind: 'pull_request', ref: 'refs/pull/1/head' },
  '021-push-to-branch-of-open-pull-request': { kind: 'push', branch: 'topic' },
  '022-pull-request-synchronized': {
    kind: 'pull_request',
    sha: 'e4f856f7714a4ca38eb14706de6f525db91d67ba',
    author: 'maria',
  },
  '023-fork': 'event fork starts nothing',
  '024-pull-request-opened-from-fork': 'pull request 2 comes from a fork (gitea/eve/gem)',
  '025-push-tag-by-release': { kind: 'tag', tag: 'v2.0.0' },
  '027-release-published': 'event release starts nothing',
  '028-status': 'event status starts nothing',
  '029-push-sixty-commits-five-listed': {
    kind: 'push',
    before: 'b58c01a04217ff6a9164f990acd6f45102cf7a68',
    sha: '73d65703dc6d0635c14b11c581b8e668bab3c552',
  },
};

/** Deliveries of a branch or tag that is new, and of pull requests: there is nothing before. */
const CREATED = ['004', '006', '009', '015', '016', '018', '020', '022', '025'];

describe('real deliveries of Gitea', () => {
  test('each has an expected outcome', () => {
    expect(FILES.map((file) => file.replace('.json', ''))).toEqual(Object.keys(EXPECTED));
  });

  test.each(FILES)('%s', async (file) => {
    const { headers, body } = load(file);
    await forge.verify(headers, body);
    const parsed = forge.parse(headers, body, NOW);
    const expected = EXPECTED[file.replace('.json', '')];
    expect(parsed.delivery).toBe(headers['x-gitea-delivery']);
    expect(parsed.repository).toBe(file === '023-fork.json' ? 'gitea/eve/gem' : 'gitea/maria/gem');
    if (typeof expected === 'string') expect(parsed).toMatchObject({ kind: 'ignored', reason: expected });
    else {
      expect(parsed).toMatchObject({ kind: 'event' });
      const { event } = parsed as Extract<typeof parsed, { kind: 'event' }>;
      expect(event).toMatchObject({ ...expected, receivedAt: NOW, delivery: parsed.delivery });
      expect('before' in event).toBe(!CREATED.includes(file.slice(0, 3)));
      expect('branch' in event).toBe(event.kind !== 'tag');
      // No address of the payload gets into the event.
      expect(JSON.stringify(event)).not.toContain('127.0.0.1');
    }
  });

  test('one that comes to the address of GitHub is told where to go', () => {
    const { headers, body } = load('002-push-one-commit.json');
    const github = createGitHub({ url: 'https://github.com', apiUrl: 'https://api.github.com' });
    expect(() => github.parse(headers, body, NOW)).toThrow(/\/webhooks\/gitea/);
  });
});
