import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ImpGemError, InputError } from '../errors.ts';
import type { CloneSource } from '../forges/forge.ts';
import { isObjectId, isRefName } from '../forges/ref-name.ts';
import { type Change, changedPaths } from './changed-paths.ts';
import type { CloneLimits } from './check-out.ts';
import { checkCloneUrl } from './clone-url.ts';
import { explained, fetchRef } from './fetch.ts';
import { ensureMirror, exists, mirrorPath, mirrorRef } from './mirror.ts';
import { createMirrorLock } from './mirror-lock.ts';
import { createObjectReader } from './object-reader.ts';
import { type Commit, type GitObject, parseCommit, parseTree, type TreeEntry } from './objects.ts';
import { packMirror } from './pack-mirror.ts';
import { type GitCall, runGit } from './run-git.ts';
import { fillWorkspace, type WorkspaceOptions } from './workspace.ts';

export interface GitOptions {
  /** Holds the mirrors: `<folder>/<forge>/<owner>/<name>.git`. */
  folder: string;
  allowFile: boolean;
  /** ms that one git process may take. */
  fetchTimeoutMs: number;
  /** Default: 20 GiB and a million files. */
  limits?: CloneLimits;
  /** Whether `forge/owner/name` may be fetched as a submodule. Default: whatever the token may read. */
  allows?: (repository: string) => boolean;
}

interface CommitRequest {
  /** Full ref, or a commit id. */
  ref: string;
  /** Commit or annotated tag; absent: what the ref points at now. */
  sha?: string;
  /** A forge has just told of it: it is asked for at once, without looking whether the mirror has it. */
  isNew?: boolean;
  /** Further refs to have at hand for `mergeBaseWith`, fetched in the same call where possible. */
  also?: string[];
  /** Paths that are read next: they come with the commit, for a git process less each. */
  read?: string[];
}

/** A commit with what `read` asked for, by path; undefined: there is none at this commit. */
export interface FetchedCommit extends Commit {
  files?: ReadonlyMap<string, GitObject | undefined>;
}

type CommitName = Pick<FetchedCommit, 'sha' | 'files'>;

/** Bytes of a file that is read from a commit. */
export const FILE_LIMIT = 6 * 1024 * 1024;
/** Bytes of a list of refs: about 200,000 of them. */
const REFS_LIMIT = 16 * 1024 * 1024;
const LIMITS: CloneLimits = { bytes: 20 * 1024 ** 3, files: 1_000_000 };
const SAFE_PATH = /^(?!\/)(?!.*\/\/)(?!(?:.*\/)?\.\.?(?:\/|$))[^\p{Cc}]+(?<!\/)$/u;

/** Mirrors and what is read from them. One per process; every method may be called at any time. */
export interface Git {
  /**
   * The commit, fetched unless the mirror has it. Errors: `commit-unknown`, `git-timeout`, `git-refused`,
   * `git-no-repository`, `git-failed`; InputError `ref-invalid`, `sha-invalid`, `repository-invalid`.
   */
  fetchCommit(
    source: CloneSource,
    repository: string,
    request: CommitRequest,
    signal?: AbortSignal,
  ): Promise<FetchedCommit>;
  /** A file at a commit that the mirror has; undefined when there is none. ImpGemError `git-output-too-large` past FILE_LIMIT. */
  readFile(repository: string, at: CommitName, path: string): Promise<Buffer | undefined>;
  /** Entries of a folder at a commit, in git's order; undefined when there is none. */
  listFolder(repository: string, at: CommitName, path: string): Promise<TreeEntry[] | undefined>;
  /** See changed-paths.ts. */
  changedPaths(repository: string, change: Change): Promise<string[] | undefined>;
  /** See workspace.ts. */
  createWorkspace(repository: string, options: WorkspaceOptions, signal?: AbortSignal): Promise<{ objects?: string }>;
  /** Host path of the mirror's objects, when there is a mirror: what createWorkspace will give. */
  objectsOf(repository: string): string | undefined;
  /** Branches and tags of the remote; annotated tags peeled. */
  lsRemote(source: CloneSource, repository: string, signal?: AbortSignal): Promise<Map<string, string>>;
}

export function createGit(options: GitOptions): Git {
  const { limits = LIMITS, allows = () => true } = options;
  const objects = createObjectReader();
  const withLock = createMirrorLock({ staleMs: 2 * options.fetchTimeoutMs + 10_000 });

  function call(repository: string, more: Partial<GitCall> = {}): Omit<GitCall, 'args'> {
    const gitDir = mirrorPath(options.folder, repository);
    return { gitDir, allowFile: options.allowFile, timeoutMs: options.fetchTimeoutMs, ...more };
  }

  const read = (repository: string, ...names: string[]): Promise<readonly (GitObject | undefined)[]> =>
    objects.read(call(repository), names, FILE_LIMIT);

  async function findCommit(repository: string, name: string, paths: string[]): Promise<FetchedCommit | undefined> {
    if (!(await exists(join(mirrorPath(options.folder, repository), 'HEAD')))) return undefined;
    const commit = `${name}^{commit}`;
    const [object, ...files] = await read(repository, commit, ...paths.map((path) => `${commit}:${path}`));
    if (!object) return undefined;
    return {
      ...parseCommit(object),
      ...(paths.length === 0 ? {} : { files: new Map(paths.map((path, index) => [path, files[index]])) }),
    };
  }

  async function hasRefs(repository: string, refs: string[]): Promise<boolean> {
    const mirror = mirrorPath(options.folder, repository);
    const there = await Promise.all(refs.map((ref) => exists(join(mirror, mirrorRef(ref)))));
    return there.every(Boolean);
  }

  async function fetchCommit(
    source: CloneSource,
    repository: string,
    request: CommitRequest,
    signal?: AbortSignal,
  ): Promise<FetchedCommit> {
    const { ref, sha, also = [], isNew = false, read: paths = [] } = request;
    for (const name of [ref, ...also]) checkRef(name);
    for (const path of paths) checkPath(path);
    if (sha !== undefined) checkSha(sha);
    checkCloneUrl(source.url, options.allowFile);
    const find = async () =>
      sha !== undefined && (await hasRefs(repository, also)) ? findCommit(repository, sha, paths) : undefined;
    const known = isNew ? undefined : await find();
    if (known) return known;
    const remote = call(repository, { source, ...(signal ? { signal } : {}) });
    return withLock(`${remote.gitDir}.lock`, signal, async (waited) => {
      const brought = waited ? await find() : undefined;
      if (brought) return brought;
      await ensureMirror(remote.gitDir, sha);
      await fetchRef(remote, ref, sha, also, limits.bytes);
      await packMirror(remote);
      const commit = await findCommit(repository, sha ?? mirrorRef(ref), paths);
      if (!commit) throw new ImpGemError('commit-unknown', `The remote has no commit ${sha ?? ref}`);
      return commit;
    });
  }

  async function readPath(
    repository: string,
    { sha, files }: CommitName,
    path: string,
  ): Promise<GitObject | undefined> {
    checkSha(sha);
    checkPath(path);
    if (files?.has(path)) return files.get(path);
    const [object] = await read(repository, `${sha}:${path}`);
    return object;
  }

  async function createWorkspace(repository: string, workspace: WorkspaceOptions, signal?: AbortSignal) {
    const { source, ref, sha, clone, branch, tag } = workspace;
    if (clone.skip) return {};
    checkSha(sha);
    checkCloneUrl(source.url, options.allowFile);
    if (branch !== undefined) checkRef(`refs/heads/${branch}`);
    if (tag !== undefined) checkRef(`refs/tags/${tag}`);
    const local = call(repository, signal ? { signal } : {});
    const forge = repository.split('/')[0] ?? '';
    const rules = { limits, allows: (path: string) => allows(`${forge}/${path}`) };
    const isKnown = await exists(join(local.gitDir, 'HEAD'));
    try {
      if (isKnown) return await fillWorkspace(local, workspace, rules);
    } catch (error) {
      if (!(error instanceof ImpGemError) || error.code !== 'commit-unknown') throw error;
    }
    await fetchCommit(source, repository, { ref, sha }, signal);
    return fillWorkspace(local, workspace, rules);
  }

  async function lsRemote(source: CloneSource, repository: string, signal?: AbortSignal): Promise<Map<string, string>> {
    checkCloneUrl(source.url, options.allowFile);
    // In no repository: a mirror would have to be made, and in which format (SHA-1, SHA-256) nobody has said yet.
    const gitDir = options.folder;
    const remote = call(repository, { gitDir, source, maxBytes: REFS_LIMIT, ...(signal ? { signal } : {}) });
    await mkdir(gitDir, { recursive: true });
    const args = ['ls-remote', '--heads', '--tags', '--end-of-options', source.url];
    try {
      return parseRefs((await runGit({ ...remote, args })).toString('utf8'));
    } catch (error) {
      throw explained(error);
    }
  }

  return {
    fetchCommit,
    readFile: async (repository, at, path) => {
      const object = await readPath(repository, at, path);
      return object?.type === 'blob' ? object.bytes : undefined;
    },
    listFolder: async (repository, at, path) => {
      const object = await readPath(repository, at, path);
      return object?.type === 'tree' ? parseTree(object) : undefined;
    },
    changedPaths: async (repository, change) => {
      checkSha(change.sha);
      return changedPaths(call(repository), change);
    },
    createWorkspace,
    objectsOf: (repository) => {
      const objects = join(mirrorPath(options.folder, repository), 'objects');
      return existsSync(objects) ? objects : undefined;
    },
    lsRemote,
  };
}

/** `id TAB ref`; the id of `ref^{}` is what the annotated tag before it points at. Names outside our grammar are left out. */
function parseRefs(text: string): Map<string, string> {
  const refs = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [id = '', name = ''] = line.split('\t');
    const ref = name.endsWith('^{}') ? name.slice(0, -3) : name;
    if (isObjectId(id) && isRefName(ref)) refs.set(ref, id);
  }
  return refs;
}

/** A manual run of a commit has no other name than its id. */
function checkRef(ref: string): void {
  if (!isRefName(ref) && !isObjectId(ref))
    throw new InputError('ref-invalid', `${JSON.stringify(ref)} is not a full reference`);
}

function checkSha(sha: string): void {
  if (!isObjectId(sha)) throw new InputError('sha-invalid', `${JSON.stringify(sha)} is not a full commit id`);
}

function checkPath(path: string): void {
  if (!SAFE_PATH.test(path))
    throw new InputError('path-invalid', `${JSON.stringify(path)} is not a path in the repository`);
}
