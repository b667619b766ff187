import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { createGit } from '../../src/git/git.ts';
import { git as runPlain, makeTempFolder } from '../support/git-http.ts';

const REPOSITORY = 'gitea/maria/gem';

test('every commit that a real delivery of Gitea names can be had', async () => {
  const temp = await makeTempFolder();
  onTestFinished(temp.remove);
  const fixtures = new URL('../fixtures/gitea/', import.meta.url);
  const bare = join(temp.path, 'fixtures/maria/gem.git');
  await cp(new URL('gem.bundle', fixtures), join(temp.path, 'gem.bundle'));
  execFileSync('git', ['clone', '-q', '--mirror', join(temp.path, 'gem.bundle'), bare], { stdio: 'ignore' });
  const git = createGit({ folder: join(temp.path, 'mirrors'), allowFile: true, fetchTimeoutMs: 30_000 });
  let had = 0;
  for (const name of readdirSync(fixtures).filter((file) => file.endsWith('.json'))) {
    const body = JSON.parse(JSON.parse(readFileSync(new URL(name, fixtures), 'utf8')).body);
    const ref = body.ref ?? `refs/pull/${body.number}/head`;
    const sha = body.after ?? body.pull_request?.head.sha;
    if (sha === undefined || /^0+$/.test(sha)) continue;
    const commit = await git.fetchCommit({ url: `file://${bare}` }, REPOSITORY, { ref, sha });
    expect(commit.sha).toBe(await runPlain(bare, 'rev-parse', `${sha}^{commit}`));
    had++;
  }
  expect(had).toBe(17);
});
