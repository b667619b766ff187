import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createGit, type Git } from '../../src/git/git.ts';
import { mirrorRef } from '../../src/git/mirror.ts';
import { makeRepository, makeTempFolder, type TestRepository } from '../support/git-http.ts';

const REPOSITORY = 'gitea/maria/gem';
const MAIN = 'refs/heads/main';

let temp: Awaited<ReturnType<typeof makeTempFolder>>;
let remote: TestRepository;
let counter = 0;

beforeAll(async () => {
  temp = await makeTempFolder();
  remote = await makeRepository(temp.path, 'maria/gem');
  await remote.commit({ 'a.txt': '1' });
});
afterAll(() => temp.remove());

/** A Git with mirrors of its own. */
function fresh(): { git: Git; mirror: string } {
  const folder = join(temp.path, `mirrors-${++counter}`);
  const git = createGit({ folder, allowFile: true, fetchTimeoutMs: 30_000 });
  return { git, mirror: join(folder, `${REPOSITORY}.git`) };
}
const source = () => ({ url: `file://${remote.bare}` });

describe('what a killed process leaves behind', () => {
  test('its lock is waited for while it lives, and taken once it was killed', async () => {
    const { git, mirror } = fresh();
    const sha = await remote.git('rev-parse', 'main');
    const holder = spawn('sleep', ['1000']);
    const started = readFileSync(`/proc/${holder.pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ')[19];
    await mkdir(join(mirror, '..'), { recursive: true });
    await writeFile(`${mirror}.lock`, `${holder.pid} ${started} ${hostname()}`);
    const stop = new AbortController();
    const waiting = git.fetchCommit(source(), REPOSITORY, { ref: MAIN, sha }, stop.signal);
    // Somebody else's mirror is not held up.
    await git.fetchCommit(source(), 'gitea/maria/other', { ref: MAIN, sha });
    expect(existsSync(join(mirror, 'HEAD'))).toBe(false);
    holder.kill('SIGKILL');
    expect((await waiting).sha).toBe(sha);
    expect(existsSync(`${mirror}.lock`)).toBe(false);
  });

  test('a pid that was given to another process is no holder', async () => {
    const { git, mirror } = fresh();
    await mkdir(join(mirror, '..'), { recursive: true });
    await writeFile(`${mirror}.lock`, `${process.pid} 12345 ${hostname()}`);
    await expect(git.fetchCommit(source(), REPOSITORY, { ref: MAIN })).resolves.toBeDefined();
  });

  test("git's own lock files are removed", async () => {
    const { git, mirror } = fresh();
    await git.fetchCommit(source(), REPOSITORY, { ref: MAIN });
    const sha = await remote.commit({ 'a.txt': 'after a kill' });
    await writeFile(join(mirror, `${mirrorRef(MAIN)}.lock`), '');
    await writeFile(join(mirror, 'packed-refs.lock'), '');
    expect((await git.fetchCommit(source(), REPOSITORY, { ref: MAIN, sha })).sha).toBe(sha);
  });

  test("refs that a loss of power left empty, or without their objects, are in nobody's way", async () => {
    const { git, mirror } = fresh();
    await git.fetchCommit(source(), REPOSITORY, { ref: MAIN });
    const sha = await remote.commit({ 'a.txt': 'after a loss of power' });
    await writeFile(join(mirror, mirrorRef('refs/heads/empty')), '');
    await writeFile(join(mirror, mirrorRef('refs/heads/lost')), `${'b'.repeat(40)}\n`);
    await writeFile(join(mirror, mirrorRef(MAIN)), '');
    expect((await git.fetchCommit(source(), REPOSITORY, { ref: MAIN, sha })).sha).toBe(sha);
  });
});
