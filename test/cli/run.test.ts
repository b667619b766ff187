/** `impgem run` as a process, over real checkouts and the real sandbox. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, mkdir, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildCommand, type Cli } from '../support/cli-process.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

let cli: Cli;
beforeAll(async () => {
  cli = await buildCommand('src/cli/run.ts', 'runCommand');
});
afterAll(() => cli.remove());

const execute = promisify(execFile);
const git = (cwd: string, ...args: string[]) =>
  execute(
    'git',
    ['-c', 'user.name=Ann', '-c', 'user.email=ann@example.org', '-c', 'init.defaultBranch=main', ...args],
    { cwd },
  );

async function checkout(files: Record<string, string>): Promise<string> {
  const folder = await temporaryFolder();
  await git(folder, 'init', '-q');
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  }
  await git(folder, 'add', '.');
  await git(folder, 'commit', '-qm', 'first commit');
  return folder;
}

const run = (cwd: string, ...args: string[]) => cli.start(args, { cwd }).ended;
const runJson = async (cwd: string, ...args: string[]) => {
  const { code, stdout, stderr } = await run(cwd, '--json', ...args);
  return { code, ...JSON.parse(stdout || '{}'), stderr };
};

describe('the workspace', () => {
  it('is the checkout as it is now, with a .git that works, and is not the checkout itself', async () => {
    const folder = await checkout({
      '.gitignore': 'ignored\n',
      '.impgem.yml':
        'steps: [{ name: look, run: "cat changed new link; ls -A; git log --format=%s; git describe --tags; git status --short; ./tool; echo evil > changed; rm -rf .git/objects; rm new" }]',
      changed: 'old\n',
      deleted: '',
      tool: '#!/bin/sh\necho tool runs\n',
    });
    await chmod(join(folder, 'tool'), 0o755);
    await git(folder, 'commit', '-qam', 'make it run');
    await git(folder, 'tag', 'v1');
    await writeFile(join(folder, 'changed'), 'changed\n');
    await writeFile(join(folder, 'new'), 'new\n');
    await writeFile(join(folder, 'ignored'), 'secret\n');
    await symlink('changed', join(folder, 'link'));
    await git(folder, 'rm', '-q', '--cached', 'deleted');
    const { code, stdout } = await run(folder);
    expect(stdout).toContain('│ changed\n');
    const lines = stdout.split('\n').flatMap((line) => /^main › look │ (.*)$/.exec(line)?.slice(1) ?? []);
    expect(lines).toEqual(
      expect.arrayContaining(['changed', 'new', 'make it run', 'v1', ' M changed', '?? new', '?? link', 'tool runs']),
    );
    expect(lines).not.toContain('ignored');
    expect(code).toBe(0);
    expect(readFileSync(join(folder, 'changed'), 'utf8')).toBe('changed\n');
    expect(existsSync(join(folder, 'new'))).toBe(true);
    const { stdout: log } = await git(folder, 'log', '--format=%s');
    expect(log).toBe('make it run\nfirst commit\n');
    const { stdout: status } = await git(folder, 'status', '--short');
    expect(status).not.toContain('.impgem');
  });

  it('has a file, a link or a folder where another of them is committed', async () => {
    const folder = await checkout({
      '.impgem.yml': 'steps: [{ name: look, run: "cat linked/x plain turned/y; find . -name x; git status --short" }]',
      'linked/x': 'old x\n',
      'plain/x': '',
      'other/x': 'x of other\n',
      turned: '',
    });
    for (const path of ['linked', 'plain', 'turned']) await rm(join(folder, path), { recursive: true });
    await symlink('other', join(folder, 'linked'));
    await writeFile(join(folder, 'plain'), 'plain now\n');
    await mkdir(join(folder, 'turned'));
    await writeFile(join(folder, 'turned/y'), 'y\n');
    const { code, stdout } = await run(folder);
    const lines = stdout.split('\n').flatMap((line) => /^main › look │ (.*)$/.exec(line)?.slice(1) ?? []);
    expect(lines.slice(0, 4)).toEqual(['x of other', 'plain now', 'y', './other/x']);
    const { stdout: status } = await git(folder, 'status', '--short', '--', '.', ':!.impgem');
    expect(lines.slice(4)).toEqual(status.trimEnd().split('\n'));
    expect(code).toBe(0);
  });

  it('is there for a clone that borrows its objects, a worktree, and a folder below the top', async () => {
    const origin = await checkout({ '.impgem.yml': 'steps: [{ name: look, run: "git log --format=%s" }]', 'a/b': '' });
    const beside = await temporaryFolder();
    await git(beside, 'clone', '-q', '--shared', origin, 'shared');
    await git(origin, 'worktree', 'add', '-q', join(beside, 'tree'));
    for (const folder of [join(beside, 'shared'), join(beside, 'tree'), join(origin, 'a')]) {
      const { code, stdout, stderr } = await run(folder);
      expect(stdout + stderr).toContain('main › look │ first commit\n');
      expect(code).toBe(0);
    }
  });
});

describe('exit code and output', () => {
  it('of a passed run are 0, lines with job and step, and artifacts that lie there', async () => {
    const folder = await checkout({
      '.impgem.yml': `
jobs:
  build:
    outputs: { v: "\${{ steps.make.outputs.v }}" }
    steps: [{ name: make, run: "mkdir out; echo hi > out/x; chmod +x out/x; echo v=7 >> $IMPGEM_OUTPUT", artifacts: ["out/**"] }]
  use:
    needs: [build]
    steps: [{ name: use, run: "echo v is $V on $CI_COMMIT_BRANCH", env: { V: "\${{ needs.build.outputs.v }}" } }]
`,
    });
    const { code, stdout } = await run(folder);
    expect(stdout).toContain('use › use │ v is 7 on main\n');
    expect(stdout).toMatch(/^✔ use › use succeeded \(\d+\.\ds\)$/m);
    expect(stdout).not.toContain('\u001b');
    const artifacts = /^artifacts: (.+)$/m.exec(stdout)?.[1] ?? '';
    expect(readFileSync(join(folder, artifacts, 'build/out/x'), 'utf8')).toBe('hi\n');
    const logs = /^logs: (.+)$/m.exec(stdout)?.[1] ?? '';
    expect(
      (await readdir(join(folder, logs), { recursive: true })).filter((name) => name.endsWith('.log')),
    ).toHaveLength(2);
    expect(code).toBe(0);
    expect((await readdir(join(folder, '.impgem/local'))).filter((name) => name.startsWith('work'))).toEqual([]);
  });

  it('of a failed run are 1, and as JSON every job and step', async () => {
    const folder = await checkout({
      '.impgem.yml': `
jobs:
  bad: { steps: [{ name: one, run: exit 3 }, { name: two, run: "true" }] }
  behind: { needs: [bad], steps: [{ run: "true" }] }
  notify: { needs: [bad], when: { status: failure }, steps: [{ run: "true" }] }
`,
    });
    const { code, runs } = await runJson(folder);
    expect(code).toBe(1);
    expect(runs).toMatchObject([
      {
        state: 'failed',
        reason: 'step one: failed with exit code 3',
        jobs: [
          { id: 'bad', state: 'failed', steps: [{ state: 'failed', exitCode: 3 }, { state: 'skipped' }] },
          { id: 'behind', state: 'skipped', reason: 'needs bad, which failed' },
          { id: 'notify', state: 'succeeded' },
        ],
      },
    ]);
  });

  it('of a missing secret are 3, and with the file the secret is in no line', async () => {
    const folder = await checkout({ '.impgem.yml': 'steps: [{ name: say, run: "echo key $KEY", secrets: [KEY] }]' });
    const without = await runJson(folder);
    expect(without.code).toBe(3);
    expect(without.runs[0].jobs[0].reason).toContain('secret KEY is not known');
    const { code, stdout } = await cli.start(['--secrets-file', '-'], { cwd: folder, input: '# mine\nKEY=hunter22\n' })
      .ended;
    expect(stdout).toContain('main › say │ key ***\n');
    expect(stdout).not.toContain('hunter22');
    expect(code).toBe(0);
    const bad = await cli.start(['--secrets-file', '-'], { cwd: folder, input: 'hunter22\n' }).ended;
    expect(bad.stderr).toBe('impgem run: -: line 1: not of the form NAME=value\n');
    expect(bad.code).toBe(64);
  });

  it('are the same inside of a step, whose variables are no settings', async () => {
    const folder = await checkout({ '.impgem.yml': 'steps: [{ name: say, run: echo hello }]' });
    const env = { IMPGEM: 'true', IMPGEM_RUN: 'abc', IMPGEM_STEP_PIDS: '512', CI: 'true' };
    expect((await cli.start([], { cwd: folder, env }).ended).code).toBe(0);
    const wrong = await cli.start([], { cwd: folder, env: { IMPGEM_STEP_PID: '512' } }).ended;
    expect(wrong.stderr).toContain('did you mean IMPGEM_STEP_PIDS');
  });

  it('of a file that is not valid are 1 and the places', async () => {
    const folder = await checkout({ '.impgem.yml': 'steps: [{ rum: "true" }]' });
    const { code, stderr } = await run(folder);
    expect(stderr).toContain('.impgem.yml:1:');
    expect(code).toBe(1);
    expect((await runJson(folder)).diagnostics.length).toBeGreaterThan(0);
  });

  it.each([
    [['--nonsense']],
    [['--event', 'party']],
    [['--event', 'tag']],
    [['nothere.yml']],
    [['--job', 'nothere']],
    [['--env', 'novalue']],
    [['--secrets-file', '/nonexistent']],
  ])('of %j are 64 and a sentence', async (args) => {
    const folder = await checkout({ '.impgem.yml': 'steps: [{ run: "true" }]' });
    const { code, stderr, stdout } = await run(folder, ...args);
    expect(stderr).not.toBe('');
    expect(stderr).not.toContain('    at ');
    expect(stdout).toBe('');
    expect(code).toBe(64);
  });

  it('outside of a repository, or before its first commit, say what to do', async () => {
    const folder = await temporaryFolder();
    const outside = await run(folder);
    expect(outside.stderr).toContain('git init');
    expect(outside.code).toBe(64);
    await git(folder, 'init', '-q');
    const empty = await run(folder);
    expect(empty.stderr).toContain('no commit yet');
    expect(empty.code).toBe(64);
  });
});

describe('Ctrl-C', () => {
  it('cancels at once, ends what runs, leaves nothing and exits 2', async () => {
    const folder = await checkout({
      '.impgem.yml': `
jobs:
  long: { steps: [{ run: "echo up; sleep 1000" }, { run: "true" }] }
  behind: { needs: [long], steps: [{ run: "true" }] }
`,
    });
    const command = cli.start(['--json'], { cwd: folder });
    await command.until('│ up');
    command.child.kill('SIGINT');
    const { code, stdout } = await command.ended;
    expect(code).toBe(2);
    expect(JSON.parse(stdout).runs).toMatchObject([
      {
        state: 'cancelled',
        jobs: [{ state: 'cancelled', steps: [{ state: 'cancelled' }, { state: 'skipped' }] }, { state: 'cancelled' }],
      },
    ]);
    expect((await readdir(join(folder, '.impgem/local'))).filter((name) => name.startsWith('work'))).toEqual([]);
  });
});

describe('a run that was killed', () => {
  it('is cleared away by the next, a run that is alive is not', async () => {
    const folder = await checkout({
      '.impgem.yml': 'steps: [{ run: "echo up; [ ! -e wait ] || sleep 1000" }]',
      wait: '',
    });
    const works = async () => (await readdir(join(folder, '.impgem/local'))).filter((name) => name.startsWith('work'));
    const killed = cli.start([], { cwd: folder });
    await killed.until('│ up');
    const [dead] = await works();
    const alive = cli.start([], { cwd: folder });
    await alive.until('│ up');
    killed.child.kill('SIGKILL');
    await killed.ended;
    await rm(join(folder, 'wait'));
    expect((await run(folder)).code).toBe(0);
    expect(await works()).toHaveLength(1);
    expect(await works()).not.toContain(dead);
    alive.child.kill('SIGINT');
    expect((await alive.ended).code).toBe(2);
    expect(await works()).toEqual([]);
  });
});

describe('a reader that goes away', () => {
  it.each([
    ['stdout', []],
    ['stderr', ['--json']],
  ] as const)('of %s ends the run, and leaves nothing', async (stream, args) => {
    const folder = await checkout({
      '.impgem.yml': 'steps: [{ run: "echo up; while true; do echo more; sleep 0.05; done" }]',
    });
    const command = cli.start([...args], { cwd: folder });
    await command.until('│ up');
    command.child[stream]?.destroy();
    expect((await command.ended).code).toBe(2);
    expect((await readdir(join(folder, '.impgem/local'))).filter((name) => name.startsWith('work'))).toEqual([]);
  });
});

describe('a reader that pauses', () => {
  it('holds neither the step nor its clean-up nor much memory, and finds every line in order when it goes on', async () => {
    const count = 400_000;
    const folder = await checkout({ '.impgem.yml': `steps: [{ name: count, run: 'echo up; seq ${count}' }]` });
    const bytes = 'up\n'.length + Array.from({ length: count }, (_, index) => index + 1).join('\n').length + 1;
    const command = cli.start([], { cwd: folder, env: { NODE_OPTIONS: '--max-old-space-size=64' } });
    await command.until('│ up');
    command.child.stdout?.pause();
    const local = join(folder, '.impgem/local');
    const stored = async (): Promise<number> => {
      const log = (await readdir(local, { recursive: true })).find((name) => name.endsWith('/0.log'));
      return log === undefined ? 0 : (await stat(join(local, log))).size;
    };
    const { child } = command;
    const ended = () => child.exitCode ?? child.signalCode;
    await expect.poll(async () => ended() ?? (await stored()), { timeout: 20_000 }).toBe(bytes);
    await expect.poll(async () => (await readdir(local)).filter((name) => name.startsWith('work'))).toEqual([]);
    child.stdout?.resume();
    const { code, stdout, stderr } = await command.ended;
    expect(stderr).toBe('');
    const lines = stdout.split('\n');
    const first = lines.indexOf('main › count │ 1');
    expect(lines.slice(first, first + count).findIndex((line, at) => line !== `main › count │ ${at + 1}`)).toBe(-1);
    expect(lines.slice(first + count).join('\n')).toMatch(
      /^✔ main › count succeeded .*\n✔ main succeeded .*\nrun succeeded\nlogs: .*\n$/,
    );
    expect(code).toBe(0);
  });
});

describe('options', () => {
  const files = {
    '.impgem.yml': `
jobs:
  a: { steps: [{ name: a, run: 'echo "$EXTRA"' }] }
  b: { needs: [a], matrix: { n: [1, 2] }, steps: [{ run: 'true' }] }
  c: { when: { event: tag }, steps: [{ name: c, run: 'echo $CI_COMMIT_TAG' }] }
`,
  };

  it('choose jobs with what they need, the event, and more variables', async () => {
    const folder = await checkout(files);
    const names = (result: { runs: { jobs: { id: string }[] }[] }) => result.runs[0]?.jobs.map((job) => job.id);
    expect(names(await runJson(folder, '--job', 'a'))).toEqual(['a']);
    expect(names(await runJson(folder, '--job', 'b'))).toEqual(['a', 'b-1', 'b-2']);
    const slip = await run(folder, '--job', 'a', 'b-3');
    expect(slip).toMatchObject({ code: 64, stdout: '', stderr: 'impgem run: No job b-3; did you mean b-1?\n' });
    const { stderr, runs } = await runJson(folder, '--event', 'tag', '--tag', 'v2', '--env', 'EXTRA=more $(id)');
    expect(stderr).toContain('a › a │ more $(id)\n');
    expect(stderr).toContain('c › c │ v2\n');
    expect(runs[0].state).toBe('succeeded');
    const push = await runJson(folder);
    expect(push.runs[0].jobs.at(-1)).toMatchObject({ id: 'c', state: 'skipped' });
  });

  it('choose a file; without one every file of .impgem/ runs', async () => {
    const folder = await checkout({
      '.impgem/one.yml': 'steps: [{ run: "true" }]',
      '.impgem/two.yml': 'steps: [{ run: "false" }]',
    });
    const both = await runJson(folder);
    expect(both.runs.map((one: { pipeline: string; state: string }) => [one.pipeline, one.state])).toEqual([
      ['one', 'succeeded'],
      ['two', 'failed'],
    ]);
    expect(both.code).toBe(1);
    expect((await runJson(folder, '.impgem/one.yml')).code).toBe(0);
  });

  it('run a retried job again, with a workspace as new', async () => {
    const folder = await checkout({
      '.impgem.yml': `
jobs:
  flaky: { retry: 1, steps: [{ name: try, run: "ls; touch seen; [ $IMPGEM_ATTEMPT = 2 ]" }] }
`,
      file: '',
    });
    const { runs, stderr } = await runJson(folder);
    expect(runs[0].jobs[0]).toMatchObject({ state: 'succeeded', attempt: 2 });
    expect(stderr.match(/│ seen/g)).toBeNull();
  });
});
