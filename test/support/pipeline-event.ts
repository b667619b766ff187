import type { PipelineEvent } from '../../src/runs/event.ts';

/** A complete event from the few fields a test cares for. */
export function pipelineEvent(given: Partial<PipelineEvent> = {}): PipelineEvent {
  const kind = given.kind ?? 'push';
  const ref =
    kind === 'tag'
      ? `refs/tags/${given.tag ?? 'v1'}`
      : kind === 'pull_request'
        ? `refs/pull/${given.pullRequest?.number ?? 1}/head`
        : `refs/heads/${given.branch ?? 'main'}`;
  return {
    kind,
    repository: 'gitea/octo/demo',
    ref,
    sha: '0123456789abcdef0123456789abcdef01234567',
    message: 'A change',
    author: 'ann',
    receivedAt: '2026-01-02T03:04:05.000Z',
    ...given,
  };
}
