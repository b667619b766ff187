import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { STEP_PATHS } from '../executors/executor.ts';
import type { CloneSource } from '../forges/forge.ts';
import type { CloneSpec } from '../runs/plan.ts';
import { checkOut } from './check-out.ts';
import { fillLargeFiles } from './large-files.ts';
import { mirrorRef, repositoryConfig, usesSha256 } from './mirror.ts';
import { type GitCall, runGit } from './run-git.ts';
import { type CloneRules, fillSubmodules } from './submodules.ts';

export interface WorkspaceOptions {
  /** Exists and is empty. */
  folder: string;
  source: CloneSource;
  /** Full ref that the commit came by: fetched when the mirror does not have the commit (a worker elsewhere). */
  ref: string;
  /** Commit, peeled. */
  sha: string;
  clone: CloneSpec;
  /** Checked out by this name; absent: a detached HEAD. */
  branch?: string;
  /** Made beside it, for `git describe`. */
  tag?: string;
}

/**
 * Fills the folder with the commit and a `.git` that works inside a step. The objects stay in the mirror, which the
 * step sees read-only: nothing is copied, and not even root in a container can harm the mirror. One git process; the
 * rest of `.git` is a handful of small files. Host git never runs here again once a step has touched it.
 */
export async function fillWorkspace(
  call: Omit<GitCall, 'args'>,
  options: WorkspaceOptions,
  rules: CloneRules,
): Promise<{ objects?: string }> {
  const { folder, sha, clone, branch } = options;
  const objects = join(call.gitDir, 'objects');
  const gitDir = join(folder, '.git');
  await mkdir(join(gitDir, 'objects/info'), { recursive: true });
  const alternates = join(gitDir, 'objects/info/alternates');
  await Promise.all([
    mkdir(join(gitDir, 'objects/pack'), { recursive: true }),
    mkdir(join(gitDir, 'refs/heads'), { recursive: true }),
    writeFile(alternates, `${objects}\n`),
    writeFile(join(gitDir, 'HEAD'), `${sha}\n`),
    writeFile(join(gitDir, 'config'), await workspaceConfig(call.gitDir, options.source.url)),
    writeFile(join(gitDir, 'packed-refs'), await packedRefs(call.gitDir, options)),
    clone.depth > 0 ? writeFile(join(gitDir, 'shallow'), await boundary(call, sha, clone.depth)) : undefined,
  ]);
  await checkOut({ ...call, gitDir, workTree: folder }, rules.limits);
  if (clone.submodules) await fillSubmodules(call, folder, options.source, rules);
  if (clone.lfs) await fillLargeFiles({ ...call, gitDir, workTree: folder, source: options.source });
  await Promise.all([
    rm(join(gitDir, 'ORIG_HEAD'), { force: true }),
    // Only now, so that no ref is written: a branch name becomes no path on the host.
    branch === undefined ? undefined : writeFile(join(gitDir, 'HEAD'), `ref: refs/heads/${branch}\n`),
    writeFile(alternates, `${STEP_PATHS.objects}\n`),
  ]);
  return { objects };
}

async function workspaceConfig(mirror: string, url: string): Promise<string> {
  const origin = `[remote "origin"]\n\turl = ${url}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n`;
  return repositoryConfig({ bare: false, sha256: await usesSha256(mirror) }) + origin;
}

/** All refs in one file: no branch name becomes a path, however long it is. */
async function packedRefs(mirror: string, { sha, branch, tag }: WorkspaceOptions): Promise<string> {
  const lines: string[] = [];
  if (branch !== undefined) lines.push(`${sha} refs/heads/${branch}`, `${sha} refs/remotes/origin/${branch}`);
  if (tag !== undefined) {
    // An annotated tag is an object of its own, which the mirror's ref names.
    const id = await readFile(join(mirror, mirrorRef(`refs/tags/${tag}`)), 'latin1').catch(() => sha);
    lines.push(`${id.trim()} refs/tags/${tag}`);
  }
  return lines.map((line) => `${line}\n`).join('');
}

/** Commits whose parents the step does not see, as a shallow clone of that depth has them. */
async function boundary(call: Omit<GitCall, 'args'>, sha: string, depth: number): Promise<string> {
  if (depth === 1) return `${sha}\n`;
  const args = ['rev-list', '--parents', '--max-count=100000', '--end-of-options', sha];
  const parents = new Map<string, string[]>();
  for (const line of (await runGit({ ...call, args })).toString('latin1').trim().split('\n')) {
    const [commit = '', ...rest] = line.split(' ');
    parents.set(commit, rest);
  }
  let edge = [sha];
  const seen = new Set(edge);
  for (let level = 1; level < depth; level++) {
    edge = [...new Set(edge.flatMap((commit) => parents.get(commit) ?? []))].filter((commit) => !seen.has(commit));
    for (const commit of edge) seen.add(commit);
  }
  return edge.map((commit) => `${commit}\n`).join('');
}
