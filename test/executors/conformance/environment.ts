/** What a script finds: shell, environment, stdin, folders. */
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { STEP_PATHS } from '../../../src/executors/executor.ts';
import type { Bench } from '../conformance.ts';

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** What a shell sets by itself. */
const SHELL_OWN = ['PWD', 'SHLVL', '_', 'OLDPWD'];

function variables(text: string): Record<string, string> {
  const entries = text.split('\0').filter((line) => line !== '');
  const pairs = entries.map((line): [string, string] => {
    const at = line.indexOf('=');
    return [line.slice(0, at), line.slice(at + 1)];
  });
  return Object.fromEntries(pairs.filter(([name]) => !SHELL_OWN.includes(name)));
}

export function describeEnvironment(bench: Bench): void {
  it('gives the environment of the task, PATH and HOME, and nothing else', async () => {
    process.env['IMPGEM_CONFORMANCE_LEAK'] = 'leaked';
    const job = await bench.job();
    const value = ' spaces "quotes" $(id) `id` \\ ünï\nnewline=x ';
    const ran = await job.run('env -0', { env: { VALUE: value, EMPTY: '' } });
    delete process.env['IMPGEM_CONFORMANCE_LEAK'];
    expect(variables(ran.text)).toEqual({
      ...bench.can.engineVariables,
      VALUE: value,
      EMPTY: '',
      PATH: DEFAULT_PATH,
      HOME: STEP_PATHS.home,
    });
  });

  it('puts the folders of the task in front of PATH', async () => {
    const job = await bench.job();
    const given = await job.run('echo "$PATH"', { path: ['/workspace/bin', '/workspace/more bin'] });
    expect(given.text).toBe(`/workspace/bin:/workspace/more bin:${DEFAULT_PATH}\n`);
    const own = await job.run('echo "$PATH $HOME"', {
      env: { PATH: '/usr/bin:/bin', HOME: '/workspace' },
      path: ['/x'],
    });
    expect(own.text).toBe('/x:/usr/bin:/bin /workspace\n');
  });

  it('runs Bash with -eo pipefail and without start-up files', async () => {
    const job = await bench.job();
    await writeFile(join(job.context.folder, 'home', '.bashrc'), 'echo rc\n');
    await job.sandbox.push();
    expect((await job.run('false; echo after')).text).toBe('');
    expect((await job.run('false | true; echo after')).exit.code).toBe(1);
    expect((await job.run('echo "${BASH_VERSION:+bash} $-"')).text).toMatch(/^bash [a-zA-Z]*e/);
  });

  it('runs sh with -e when asked', async () => {
    const job = await bench.job();
    expect((await job.run('echo "sh"; false; echo after', { shell: 'sh' })).text).toBe('sh\n');
    expect((await job.run('case $- in *e*) exit 4;; esac', { shell: 'sh' })).exit.code).toBe(4);
  });

  it('gives 128 + n for a signal and 127 for an unknown command', async () => {
    const job = await bench.job();
    expect((await job.run('kill -9 $$')).exit).toMatchObject({ code: 137 });
    expect((await job.run('kill -TERM $$')).exit.code).toBe(143);
    expect((await job.run('bash -c "kill -SEGV \\$\\$"')).exit.code).toBe(139);
    expect((await job.run('no-such-command-at-all')).exit.code).toBe(127);
  });

  it('gives the exact code whatever variables a shell would heed', async () => {
    const job = await bench.job();
    const heeded = { IFS: '01', GLOBIGNORE: '*', code: '3', POSIXLY_CORRECT: '1' };
    for (const shell of ['bash', 'sh'] as const)
      for (const code of [0, 1, 10]) {
        const ran = await job.run(`exit ${code}`, { shell, env: heeded });
        expect(ran.exit).toMatchObject({ code });
      }
  });

  it('has an empty stdin', async () => {
    const job = await bench.job();
    const ran = await job.run('cat; read -r line || echo "end"; [ -t 0 ] || echo "no terminal"');
    expect(ran.text).toBe('end\nno terminal\n');
  });

  it('keeps a long script and odd characters in it', async () => {
    const job = await bench.job();
    const lines = Array.from({ length: 20_000 }, (_, i) => `: "line ${i} of a long script"`);
    const ran = await job.run([...lines, String.raw`printf '%s' 'ünï \n $x "q"'`].join('\n'));
    expect(ran.text).toBe(String.raw`ünï \n $x "q"`);
  });

  it('runs in the workspace, or in a folder of it', async () => {
    const job = await bench.job();
    await mkdir(join(job.context.folder, 'workspace', 'sub dir', '-x'), { recursive: true });
    await job.sandbox.push();
    expect((await job.run('pwd')).text).toBe('/workspace\n');
    expect((await job.run('pwd', { workingDirectory: 'sub dir/-x' })).text).toBe('/workspace/sub dir/-x\n');
    expect((await job.run('pwd', { workingDirectory: './sub dir/..' })).text).toBe('/workspace\n');
  });

  it('refuses a working directory that is missing or leaves the workspace', async () => {
    const job = await bench.job();
    const workspace = join(job.context.folder, 'workspace');
    await symlink('/usr', join(workspace, 'leaves'));
    await symlink('..', join(workspace, 'up'));
    await writeFile(join(workspace, 'file'), '');
    await job.sandbox.push();
    for (const workingDirectory of ['missing', 'leaves', 'up', '../impgem/home', '/usr', 'file', '/workspace/../usr']) {
      const ran = await job.run('echo ran; pwd', { workingDirectory }).catch((error: unknown) => error);
      if (ran instanceof Error) expect(ran.message).toContain('working');
      else expect(ran).toMatchObject({ text: expect.stringContaining('working'), exit: { code: 1 } });
      expect(ran).not.toMatchObject({ text: expect.stringContaining('ran\n') });
    }
  });

  it('keeps workspace and home from step to step, and nothing else', async () => {
    const job = await bench.job();
    await job.run('echo w > kept; echo h > ~/kept; echo t > /tmp/lost; echo s > /impgem/step/lost');
    const ran = await job.run('cat kept ~/kept; ls /tmp /impgem/step');
    expect(ran.text).toBe('w\nh\n/impgem/step:\nenv\noutput\npath\nsummary\n\n/tmp:\n');
  });

  it('notes an image that it ignores, once', async () => {
    const job = await bench.job();
    if (bench.can.images) return;
    await job.run('true', { image: 'node:22' });
    await job.run('true', { image: 'node:22' });
    expect(job.notes.filter((line) => line.includes('node:22'))).toHaveLength(1);
  });
}
