import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
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
  const alternates = join(gitDir, 'objects/info/alternates');
  // Synchronous: a dozen small writes take less than one turn of the event loop, and a first log line waits for them.
  for (const part of ['objects/info', 'refs']) mkdirSync(join(gitDir, part), { recursive: true });
  writeFileSync(alternates, `${objects}\n`);
  writeFileSync(join(gitDir, 'HEAD'), `${sha}\n`);
  writeFileSync(join(gitDir, 'config'), workspaceConfig(call.gitDir, options.source.url));
  writeFileSync(join(gitDir, 'packed-refs'), packedRefs(call.gitDir, options));
  if (clone.depth > 0) writeFileSync(join(gitDir, 'shallow'), await boundary(call, sha, clone.depth));
  await checkOut({ ...call, gitDir, workTree: folder }, rules.limits);
  if (clone.submodules) await fillSubmodules(call, folder, options.source, rules);
  if (clone.lfs)
    await fillLargeFiles({ ...call, gitDir, workTree: folder, source: options.source }, rules.limits.bytes);
  // Only now, so that no ref is written: a branch name becomes no path on the host.
  if (branch !== undefined) writeFileSync(join(gitDir, 'HEAD'), `ref: refs/heads/${branch}\n`);
  writeFileSync(alternates, `${STEP_PATHS.objects}\n`);
  return { objects };
}

function workspaceConfig(mirror: string, url: string): string {
  const origin = `[remote "origin"]\n\turl = ${url}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n`;
  return repositoryConfig({ bare: false, sha256: usesSha256(mirror) }) + origin;
}

/** All refs in one file: no branch name becomes a path, however long it is. */
function packedRefs(mirror: string, { sha, branch, tag }: WorkspaceOptions): string {
  const lines: string[] = [];
  if (branch !== undefined) lines.push(`${sha} refs/heads/${branch}`, `${sha} refs/remotes/origin/${branch}`);
  if (tag !== undefined) {
    // An annotated tag is an object of its own, which the mirror's ref names.
    const ref = join(mirror, mirrorRef(`refs/tags/${tag}`));
    const id = existsSync(ref) ? readFileSync(ref, 'latin1').trim() : sha;
    lines.push(`${id} refs/tags/${tag}`);
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
