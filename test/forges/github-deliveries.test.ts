import { createRequire } from 'node:module';
import { describe, expect, test } from 'vitest';
import { createGitHub } from '../../src/forges/github.ts';
import { signDelivery } from '../support/fake-forge.ts';

const NOW = '2026-11-24T00:00:00.000Z';
const SECRET = 'fixture-secret';
const forge = createGitHub({ url: 'https://github.com', apiUrl: 'https://api.github.com', webhookSecret: SECRET });

/** The few fields that the tests look at. */
interface Payload {
  ref: string;
  before: string;
  after: string;
  action: string;
  repository: { full_name: string };
  head_commit: { message: string };
  pull_request: { number: number; head: { sha: string; repo: { full_name: string } | null } };
}
interface Example {
  event: string;
  index: number;
  payload: Payload;
}
// A CommonJS package whose types declare a default export that it does not have.
const examples = createRequire(import.meta.url)('@octokit/webhooks-examples') as {
  name: string;
  examples: Payload[];
}[];
const ALL: Example[] = examples.flatMap(({ name, examples: payloads }) =>
  payloads.map((payload, index) => ({ event: name, index, payload })),
);

function parse({ event, payload }: Pick<Example, 'event' | 'payload'>) {
  const body = Buffer.from(JSON.stringify(payload));
  const headers = signDelivery('github', SECRET, body, { event });
  return forge.verify(headers, body).then(() => forge.parse(headers, body, NOW));
}

const of = (...names: string[]) => ALL.filter(({ event }) => names.includes(event));

describe("GitHub's own examples", () => {
  test.each(of('push'))('push $index', async (example) => {
    const parsed = await parse(example);
    const { ref, before, after, repository } = example.payload;
    if (/^0+$/.test(after)) expect(parsed).toMatchObject({ kind: 'ignored', reason: 'tag deleted' });
    else
      expect(parsed).toMatchObject({
        kind: 'event',
        repository: `github/${repository.full_name}`,
        event: {
          kind: ref.startsWith('refs/tags/') ? 'tag' : 'push',
          ref,
          sha: after,
          ...(/^0+$/.test(before) ? {} : { before }),
          message: example.payload.head_commit.message,
          author: 'Codertocat',
        },
      });
  });

  test.each(of('ping'))('ping $index', async (example) => {
    expect(await parse(example)).toMatchObject({ kind: 'ignored', reason: 'ping' });
  });

  test.each(of('pull_request'))('pull_request $index ($payload.action)', async (example) => {
    const parsed = await parse(example);
    const { action, pull_request: pr } = example.payload;
    if (['opened', 'reopened', 'synchronize'].includes(action))
      expect(parsed).toMatchObject({
        kind: 'event',
        event: {
          kind: 'pull_request',
          ref: `refs/pull/${pr.number}/head`,
          sha: pr.head.sha,
          branch: 'master',
          pullRequest: { number: pr.number, action, sourceBranch: 'changes', targetBranch: 'master', fork: false },
        },
      });
    else expect(parsed).toMatchObject({ kind: 'ignored', reason: `pull request ${action}: nothing new to build` });
  });

  test('every other event is ignored and says which it is', async () => {
    const others = ALL.filter(({ event }) => !['push', 'ping', 'pull_request'].includes(event));
    expect(others.length).toBeGreaterThan(200);
    for (const example of others)
      expect(await parse(example)).toMatchObject({
        kind: 'ignored',
        forgeEvent: example.event,
        reason: `event ${example.event} starts nothing`,
      });
  });

  test('a pull request whose fork is gone, or is elsewhere, is ignored', async () => {
    const { payload } = of('pull_request').find((example) => example.payload.action === 'opened')!;
    const gone = structuredClone(payload);
    gone.pull_request.head.repo = null;
    expect(await parse({ event: 'pull_request', payload: gone })).toMatchObject({
      kind: 'ignored',
      reason: expect.stringContaining('fork (deleted)'),
    });
    const elsewhere = structuredClone(payload);
    elsewhere.pull_request.head.repo = { full_name: 'eve/Hello-World' };
    expect(await parse({ event: 'pull_request', payload: elsewhere })).toMatchObject({
      kind: 'ignored',
      reason: expect.stringContaining('fork (github/eve/Hello-World)'),
    });
  });
});
