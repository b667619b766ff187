/** A command of ours as a process of its own, as a user has it. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'esbuild';

export interface Cli {
  start(args: string[], options: { cwd: string; env?: Record<string, string>; input?: string }): CliProcess;
  remove(): Promise<void>;
}

interface CliProcess {
  child: ChildProcess;
  ended: Promise<{ code: number | null; stdout: string; stderr: string }>;
  /** Settles when stdout and stderr together hold the text. */
  until(text: string): Promise<void>;
}

const ROOT = new URL('../..', import.meta.url).pathname;

/** Bundles the entry (a path in the repository that exports `factory`, which makes a command) once for all processes. */
export async function buildCommand(entry: string, factory: string): Promise<Cli> {
  // Below the repository, where the packages are found.
  const folder = await mkdtemp(join(ROOT, 'node_modules', '.impgem-cli-'));
  await build({
    stdin: {
      contents: `import { ${factory} } from './${entry}';
const command = ${factory}().exitOverride();
try { await command.parseAsync(process.argv.slice(2), { from: 'user' }); }
catch (error) {
  if (!String(error.code).startsWith('commander.')) { console.error(error.message); process.exitCode = 3; }
  else process.exitCode = error.exitCode === 0 ? 0 : 64;
}`,
      resolveDir: ROOT,
      loader: 'ts',
    },
    outdir: folder,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    packages: 'external',
    outExtension: { '.js': '.mjs' },
    logLevel: 'error',
  });
  const script = join(folder, 'stdin.mjs');
  return {
    start: (args, options) => startCommand(script, args, options),
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

function startCommand(
  script: string,
  args: string[],
  { cwd, env = {}, input }: { cwd: string; env?: Record<string, string>; input?: string },
): CliProcess {
  const inherited = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(IMPGEM_|DOCKER_|GIT_|REDIS_|CI$)/.test(name)),
  );
  const child = spawn(process.execPath, [script, ...args], {
    cwd,
    env: { ...inherited, IMPGEM_EXECUTOR: 'sandbox', ...env },
  });
  let stdout = '';
  let stderr = '';
  const listeners = new Set<() => void>();
  // A character may come in two parts.
  child.stdout.setEncoding('utf8');
  child.stderr.setEncoding('utf8');
  child.stdout.on('data', (text: string) => {
    stdout += text;
    for (const listener of listeners) listener();
  });
  child.stderr.on('data', (text: string) => {
    stderr += text;
    for (const listener of listeners) listener();
  });
  child.stdin.end(input);
  const ended = new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) => {
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
  return {
    child,
    ended,
    until: (text) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (!(stdout + stderr).includes(text)) return;
          listeners.delete(look);
          resolve();
        };
        listeners.add(look);
        look();
        void ended.then(() => reject(new Error(`ended without "${text}": ${stdout}${stderr}`)));
      }),
  };
}
