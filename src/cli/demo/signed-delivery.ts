import { createHmac, randomUUID } from 'node:crypto';
import type { DemoCommit } from './demo-repository.ts';

/** The push delivery that Gitea would send for this commit, signed as Gitea signs. */
export function signedPush(
  fullName: string,
  { sha, before, message }: DemoCommit,
  secret: string,
): { body: string; headers: Record<string, string>; delivery: string } {
  const [owner = '', name = ''] = fullName.split('/');
  const person = { name: 'Demo', email: 'demo@example.com', username: owner };
  const commit = {
    id: sha,
    message: `${message}\n`,
    author: person,
    committer: person,
    timestamp: new Date().toISOString(),
  };
  const body = JSON.stringify({
    ref: 'refs/heads/main',
    before,
    after: sha,
    commits: [commit],
    total_commits: 1,
    head_commit: commit,
    repository: { id: 1, name, full_name: fullName, owner: { login: owner, username: owner }, default_branch: 'main' },
    pusher: { login: owner, username: owner },
    sender: { login: owner, username: owner },
  });
  const delivery = randomUUID();
  const signature = createHmac('sha256', secret).update(body).digest('hex');
  return {
    body,
    delivery,
    headers: {
      'content-type': 'application/json',
      'x-gitea-delivery': delivery,
      'x-gitea-event': 'push',
      'x-gitea-event-type': 'push',
      'x-gitea-signature': signature,
      'x-hub-signature-256': `sha256=${signature}`,
    },
  };
}
