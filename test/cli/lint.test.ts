/** `impgem lint` as a process, as a user has it. */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildCommand, type Cli } from '../support/cli-process.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

let cli: Cli;
beforeAll(async () => {
  cli = await buildCommand('src/cli/lint.ts', 'lintCommand');
});
afterAll(() => cli.remove());

async function folderWith(files: Record<string, string>): Promise<string> {
  const folder = await temporaryFolder();
  await mkdir(join(folder, '.git'));
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  }
  return folder;
}

const good = 'image: "debian:bookworm-slim"\nsteps: [{ run: make }]\n';
const bad = 'imge: x\nsteps: [{ run: "echo ${{ event.branch }}" }]\n';

test('says nothing on stdout when nothing is wrong', async () => {
  const cwd = await folderWith({ '.impgem.yml': good });
  expect(await cli.start([], { cwd }).ended).toEqual({
    code: 0,
    stdout: '',
    stderr: '.impgem.yml: nothing to complain about\n',
  });
});

test('shows every mistake with its line, and exits with 1', async () => {
  const cwd = await folderWith({ '.impgem/a.yml': good, '.impgem/b.yml': bad });
  const { code, stdout, stderr } = await cli.start([], { cwd }).ended;
  expect(code).toBe(1);
  expect(stdout).toContain(' --> .impgem/b.yml:1:1\n  |\n1 | imge: x\n  | ^^^^\n  = help: Did you mean `image`?');
  expect(stdout).toContain('error[expression-in-run]');
  expect(stdout).not.toContain('\u001B');
  expect(stderr).toBe('.impgem/a.yml, .impgem/b.yml: 2 errors, 0 warnings\n');
});

test('warnings alone are no failure', async () => {
  const cwd = await folderWith({ '.impgem.yml': 'steps: [{ run: "curl https://x | sh" }]' });
  const { code, stdout } = await cli.start(['--format', 'json'], { cwd }).ended;
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    errors: 0,
    warnings: 1,
    diagnostics: [{ code: 'pipe-to-shell', line: 1 }],
  });
});

test('takes files by name, from a deeper folder as well, with what they include', async () => {
  const cwd = await folderWith({
    'ci/x.yml': `include: ci/base.yml\n${good}`,
    'ci/base.yml': 'imge: x\n',
    'deep/er/y': '',
  });
  const { code, stdout } = await cli.start(['--format', 'json', '../../ci/x.yml'], { cwd: join(cwd, 'deep/er') }).ended;
  expect(code).toBe(1);
  expect(JSON.parse(stdout).diagnostics).toMatchObject([{ code: 'unknown-key', file: 'ci/base.yml', line: 1 }]);
});

test('speaks the language of GitHub', async () => {
  const cwd = await folderWith({ '.impgem.yml': 'steps: [{ run: make, "100%, a:b": 1 }]' });
  const { code, stdout } = await cli.start(['--format', 'github'], { cwd }).ended;
  expect(code).toBe(1);
  expect(stdout).toMatch(
    /^::error file=\.impgem\.yml,line=1,col=22,endColumn=33,title=unknown-key::`100%25, a:b` is not/,
  );
});

test.each([
  ['a file that is not there', ['no.yml']],
  ['a format that is none', ['--format', 'xml']],
  ['no pipeline at all', []],
])('%s is wrong use', async (_, args) => {
  const cwd = await folderWith({});
  const { code, stdout, stderr } = await cli.start(args, { cwd }).ended;
  expect([code, stdout]).toEqual([64, '']);
  expect(stderr).not.toBe('');
});
