import { appendFile, lstat, mkdir, realpath, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImpGemError } from '../errors.ts';
import type { CloneSource } from '../forges/forge.ts';
import { isObjectId } from '../forges/ref-name.ts';
import { runBoundedFetch } from './bounded-fetch.ts';
import { checkOut, type CloneLimits } from './check-out.ts';
import { checkCloneUrl } from './clone-url.ts';
import { explained } from './fetch.ts';
import { repositoryConfig } from './mirror.ts';
import { type GitCall, runGit } from './run-git.ts';

interface Submodule {
  name: string;
  path: string;
  url: string;
  sha: string;
}

export interface CloneRules {
  /** For each tree, and each fetch. */
  limits: CloneLimits;
  /** Whether `owner/name` of the same forge may be fetched. */
  allows(path: string): boolean;
}

const MOST = 100;
const DEEPEST = 5;

/**
 * Fetches the submodules of a fresh workspace at the commits that it names, one commit deep, and theirs in turn. Only
 * repositories of the same forge that the operator allows: any other address could lead inside our network. ImpGemError
 * `submodule-refused`.
 * We do it ourselves: `git submodule` takes commands and addresses from the repository (CVE-2024-32002 and kin).
 */
export async function fillSubmodules(
  call: Omit<GitCall, 'args'>,
  folder: string,
  source: CloneSource,
  rules: CloneRules,
  depth = 0,
): Promise<void> {
  const inside = { ...call, gitDir: join(folder, '.git'), workTree: folder };
  const found = await findSubmodules(inside);
  if (found.length > MOST || (found.length > 0 && depth >= DEEPEST))
    throw new ImpGemError('submodule-refused', `More than ${MOST} submodules, or more than ${DEEPEST} levels of them`);
  const root = await realpath(folder);
  for (const submodule of found) {
    const from = { ...source, url: submoduleUrl(submodule, source.url) };
    checkCloneUrl(from.url, call.allowFile);
    const [, path = ''] = /([^/]+\/[^/]+)\.git$/.exec(from.url) ?? [];
    if (!rules.allows(path)) refuse(submodule, `is ${path}, which is not in IMPGEM_ALLOW_REPOSITORIES`);
    const target = join(folder, submodule.path);
    // git has made an empty folder for it; anything else is a trick.
    if (!(await lstat(target)).isDirectory() || (await realpath(target)) !== join(root, submodule.path))
      refuse(submodule, 'is not a folder');
    await fetchInto({ ...call, source: from }, target, submodule.sha, rules.limits);
    const name = submodule.name.replace(/["\\]/g, '\\$&');
    await appendFile(join(folder, '.git/config'), `[submodule "${name}"]\n\tactive = true\n\turl = ${from.url}\n`);
    await fillSubmodules(call, target, from, rules, depth + 1);
  }
}

async function findSubmodules(call: Omit<GitCall, 'args'>): Promise<Submodule[]> {
  // Not of the tree: a stranger's can hold `a` as a link and as a folder. The index is what was checked out.
  const index = await runGit({ ...call, args: ['ls-files', '--stage', '-z'] });
  const links = new Map<string, string>();
  for (const line of index.toString('utf8').split('\0')) {
    const [, sha = '', path = ''] = /^160000 ([0-9a-f]+) 0\t(.*)$/s.exec(line) ?? [];
    if (path !== '' && isObjectId(sha)) links.set(path, sha);
  }
  if (links.size === 0) return [];
  const settings = await readModules(call);
  const found: Submodule[] = [];
  for (const [key, path] of settings) {
    const name = /^submodule\.(.+)\.path$/s.exec(key)?.[1];
    const sha = links.get(path);
    const url = settings.get(`submodule.${name ?? ''}.url`);
    if (name === undefined || sha === undefined || url === undefined || /\p{Cc}/u.test(name)) continue;
    found.push({ name, path, url, sha });
  }
  return found;
}

/** Keys and values of `.gitmodules` at HEAD, and of no file of ours that an `[include]` in it names. */
async function readModules(call: Omit<GitCall, 'args'>): Promise<Map<string, string>> {
  const settings = new Map<string, string>();
  const listed = await runGit({
    ...call,
    args: ['config', '--no-includes', '--blob', 'HEAD:.gitmodules', '--list', '-z'],
  });
  for (const entry of listed.toString('utf8').split('\0')) {
    const [key = '', ...value] = entry.split('\n');
    settings.set(key, value.join('\n'));
  }
  return settings;
}

/**
 * Address of a submodule below the forge's own address: relative ones as git resolves them, and the forms in which
 * people write the same host (`git@host:owner/name.git`, `ssh://`, `https://`).
 */
function submoduleUrl(submodule: Submodule, parent: string): string {
  const base = parent.replace(/\/[^/]+\/[^/]+$/, '');
  const { url } = submodule;
  let resolved: string;
  if (/^\.\.?\//.test(url)) resolved = resolveRelative(url, parent);
  else {
    const { hostname, host } = new URL(parent);
    const [, sshHost, sshPath] = /^(?:ssh:\/\/)?(?:git@)?([A-Za-z0-9.-]+)(?::\d+)?[:/]([^:]+)$/.exec(url) ?? [];
    const [, webHost, webPath] = /^https?:\/\/([^/@]+)\/(.+)$/.exec(url) ?? [];
    if (url.startsWith(`${base}/`)) resolved = url;
    else if (sshHost === hostname && sshPath !== undefined) resolved = `${base}/${sshPath}`;
    else if (webHost === host && webPath !== undefined) resolved = `${base}/${webPath}`;
    else return refuse(submodule, `is at ${JSON.stringify(url)}, which is not on this forge`);
  }
  const path = resolved.slice(base.length + 1);
  if (!resolved.startsWith(`${base}/`) || !/^[A-Za-z0-9_.-]+\/[A-Za-z0-9_.-]+$/.test(path) || /(?:^|\/)[.-]/.test(path))
    return refuse(submodule, `is at ${JSON.stringify(url)}, which is not owner/name on this forge`);
  return `${base}/${path.replace(/\.git$/, '')}.git`;
}

function resolveRelative(url: string, parent: string): string {
  const parts = parent.split('/');
  for (const part of url.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '.') parts.push(part);
  }
  return parts.join('/');
}

async function fetchInto(call: Omit<GitCall, 'args'>, folder: string, sha: string, limits: CloneLimits): Promise<void> {
  const gitDir = join(folder, '.git');
  const url = call.source?.url ?? '';
  await mkdir(join(gitDir, 'objects/info'), { recursive: true });
  await mkdir(join(gitDir, 'refs/heads'), { recursive: true });
  const origin = `[remote "origin"]\n\turl = ${url}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n`;
  await writeFile(join(gitDir, 'config'), repositoryConfig({ bare: false, sha256: sha.length === 64 }) + origin);
  await writeFile(join(gitDir, 'HEAD'), `${sha}\n`);
  const args = ['fetch', '--verbose', '--depth=1', '--no-tags', '--no-write-fetch-head', '--no-recurse-submodules'];
  try {
    await runBoundedFetch({ ...call, gitDir, args: [...args, '--end-of-options', url, sha] }, limits.bytes);
  } catch (error) {
    throw explained(error);
  }
  await checkOut({ ...call, gitDir, workTree: folder }, limits);
}

function refuse(submodule: Submodule, problem: string): never {
  throw new ImpGemError('submodule-refused', `Submodule ${JSON.stringify(submodule.path)} ${problem}`);
}
