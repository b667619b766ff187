/** A bare repository made from one of the examples, with one commit pushed to it: what a forge would hold. */
import { execFile } from 'node:child_process';
import { cp, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface DemoCommit {
  sha: string;
  before: string;
  message: string;
}

/** The user's own git settings must neither help nor hurt. */
const ENV = {
  PATH: process.env['PATH'] ?? '',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_AUTHOR_NAME: 'Demo',
  GIT_AUTHOR_EMAIL: 'demo@example.com',
  GIT_COMMITTER_NAME: 'Demo',
  GIT_COMMITTER_EMAIL: 'demo@example.com',
};

export async function pushExample(example: string, folder: string, fullName: string): Promise<DemoCommit> {
  const bare = join(folder, 'forge', `${fullName}.git`);
  const checkout = join(folder, 'checkout');
  const git = async (...args: string[]): Promise<string> =>
    (await run('git', ['-C', checkout, ...args], { env: ENV })).stdout.trim();
  await rm(bare, { recursive: true, force: true });
  await rm(checkout, { recursive: true, force: true });
  await mkdir(checkout, { recursive: true });
  await run('git', ['init', '-q', '--bare', '-b', 'main', bare], { env: ENV });
  await git('init', '-q', '-b', 'main');
  await git('commit', '-q', '--allow-empty', '-m', 'Start');
  const before = await git('rev-parse', 'HEAD');
  await cp(example, checkout, { recursive: true });
  const message = 'Add the pipeline';
  await git('add', '-A');
  await git('commit', '-q', '-m', message);
  await git('push', '-q', bare, 'main');
  return { sha: await git('rev-parse', 'HEAD'), before, message };
}
