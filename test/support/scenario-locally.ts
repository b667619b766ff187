/** A scenario through `impgem run`, as a process in a checkout. */
import { spawn } from 'node:child_process';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Job, Run } from '../../src/runs/run.ts';
import { git } from './git-http.ts';
import type { Happening, Observed, PlayedScenario } from './scenario.ts';

interface LocalEnd {
  code: number | null;
  diagnostics: { code: string }[];
  runs: Observed[];
}

type LocalRun = Pick<Run, 'id' | 'pipeline' | 'state' | 'reason'> & { jobs: Job[]; logs: string; artifacts?: string };

/** Undefined in the place of an event that cannot happen locally. */
export async function playLocally(
  folder: string,
  scenario: PlayedScenario,
  env: Record<string, string>,
): Promise<(LocalEnd | undefined)[]> {
  const commit = async (files: Record<string, string | null>, message: string): Promise<void> => {
    for (const [path, text] of Object.entries(files)) {
      await mkdir(dirname(join(folder, path)), { recursive: true });
      await (text === null ? rm(join(folder, path)) : writeFile(join(folder, path), text));
    }
    await git(folder, 'add', '-A');
    await git(folder, 'commit', '-q', '--allow-empty', '-m', message);
  };
  await mkdir(folder, { recursive: true });
  await git(folder, 'init', '-q', '-b', 'main');
  if (scenario.base) await commit(scenario.files, 'Base');
  const ends: (LocalEnd | undefined)[] = [];
  for (const [index, happening] of scenario.events.entries()) {
    const { branch = 'main', message = 'Change' } = happening;
    if (!happening.again && (await git(folder, 'symbolic-ref', '--short', 'HEAD')) !== branch)
      await git(folder, 'checkout', '-q', '-b', branch);
    const files = index === 0 && !scenario.base ? scenario.files : {};
    if (!happening.again) await commit({ ...files, ...happening.files }, message);
    if (happening.notLocally !== undefined) ends.push(undefined);
    else ends.push(await runHere(folder, happening, scenario, index > 0 || scenario.base === true, env));
  }
  return ends;
}

async function runHere(
  folder: string,
  { event = 'push', tag, files }: Happening,
  { secrets = {} }: PlayedScenario,
  hasBase: boolean,
  env: Record<string, string>,
): Promise<LocalEnd> {
  const args = ['run', '--json', '--event', event];
  if (tag !== undefined) args.push('--tag', tag);
  if (event === 'pull_request') args.push('--branch', 'main');
  // What git says on the server, which compares with the commit before.
  const changed = hasBase && event !== 'tag' ? Object.keys(files ?? {}) : [];
  if (changed.length > 0) args.push('--changed', ...changed);
  if (Object.keys(secrets).length > 0) args.push('--secrets-file', '-');
  const child = spawn(process.execPath, [resolve('dist/impgem.js'), ...args], {
    cwd: folder,
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: dirname(folder),
      IMPGEM_CONCURRENCY: '4',
      ...env,
    },
  });
  child.stdin.end(
    Object.entries(secrets)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
  );
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (bytes: Buffer) => (stdout += bytes.toString()));
  child.stderr.on('data', (bytes: Buffer) => (stderr += bytes.toString()));
  const code = await new Promise<number | null>((done) => child.on('close', done));
  if (stdout === '') throw new Error(`impgem ${args.join(' ')} ended with ${code}: ${stderr}`);
  const said = JSON.parse(stdout) as { runs: LocalRun[]; diagnostics: { code: string }[] };
  return { code, diagnostics: said.diagnostics, runs: said.runs.map(observe) };
}

function observe(run: LocalRun): Observed {
  return {
    run,
    log: async (id, part) => {
      const attempt = run.jobs.find((job) => job.id === id)?.attempt ?? 1;
      return readFile(join(run.logs, run.id, id, String(attempt), `${part}.log`), 'utf8').catch(() => '');
    },
    artifacts: async () => {
      if (run.artifacts === undefined) return [];
      const entries = await readdir(run.artifacts, { recursive: true, withFileTypes: true });
      const root = run.artifacts;
      return entries
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1));
    },
  };
}
