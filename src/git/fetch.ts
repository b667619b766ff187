import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ImpGemError, InfrastructureError, messageOf } from '../errors.ts';
import { isObjectId } from '../forges/ref-name.ts';
import { runBoundedFetch } from './bounded-fetch.ts';
import { mirrorRef, setObjectFormat } from './mirror.ts';
import { quickFetch } from './quick-fetch.ts';
import type { GitCall } from './run-git.ts';

const FETCH = [
  'fetch',
  '--verbose',
  '--no-tags',
  '--no-write-fetch-head',
  '--no-recurse-submodules',
  '--no-auto-maintenance',
];

/**
 * Fetches into a mirror. With a sha, first exactly that: one round trip less (no list of refs), the right commit also
 * when the branch has moved on, and the name of the ref never gets near git. Servers that give no object by its id, and
 * callers that know none, take the ref.
 */
export async function fetchRef(
  call: Omit<GitCall, 'args'>,
  ref: string,
  sha: string | undefined,
  also: string[],
  maxBytes: number,
): Promise<void> {
  if (sha !== undefined && also.length === 0 && (await quickFetch(call, ref, sha, maxBytes))) return;
  const others = also.map(refspec);
  const wanted = sha === undefined ? undefined : `+${sha}:${mirrorRef(ref)}`;
  const tries = [
    ...(wanted ? [[wanted, ...others]] : []),
    // The ref of `also` may be gone at the remote: it is a help, not a must.
    ...(wanted && others.length > 0 ? [[wanted]] : []),
    [refspec(ref), ...others],
    ...(others.length > 0 ? [[refspec(ref)]] : []),
  ];
  let refused: unknown;
  for (const refspecs of tries) {
    try {
      await fetchOnce(call, refspecs, maxBytes);
      return;
    } catch (error) {
      if (!isNotThere(error)) throw explained(error);
      refused = error;
    }
  }
  throw new ImpGemError('commit-unknown', `The remote has no ${sha ?? ref}`, { cause: refused });
}

function refspec(ref: string): string {
  return `+${ref}:${mirrorRef(ref)}`;
}

async function fetchOnce(call: Omit<GitCall, 'args'>, refspecs: string[], maxBytes: number): Promise<void> {
  const url = call.source?.url ?? '';
  const args = [...FETCH, '--end-of-options', url, ...refspecs];
  try {
    await runBoundedFetch({ ...call, args }, maxBytes);
  } catch (error) {
    if (!(await isMended(call.gitDir, causeOf(error)))) throw error;
    await runBoundedFetch({ ...call, args }, maxBytes);
  }
}

/** Whether what was wrong with the mirror is put right. We hold the mirror's lock, so that no other git writes here. */
async function isMended(mirror: string, words: string): Promise<boolean> {
  // Left by a git that was killed.
  if (/\.lock': File exists/.test(words)) {
    await removeLocks(mirror);
    return true;
  }
  // Left by a loss of power: a ref that is empty, or names what never reached the disk. Beside it git fetches nothing.
  const [, broken] = /bad object refs\/impgem\/([0-9a-f]{40})\b/.exec(words) ?? [];
  if (broken !== undefined) {
    await removeBrokenRefs(join(mirror, 'refs/impgem'), broken);
    return true;
  }
  // Made before it was known what the remote uses.
  const [, format] = /mismatched algorithms: client \w+; server (sha1|sha256)/.exec(words) ?? [];
  return format !== undefined && (await setObjectFormat(mirror, format === 'sha256'));
}

async function removeLocks(mirror: string): Promise<void> {
  const refs = join(mirror, 'refs/impgem');
  const names = await readdir(refs).catch(() => []);
  const locks = names.filter((name) => name.endsWith('.lock')).map((name) => join(refs, name));
  for (const lock of [...locks, join(mirror, 'packed-refs.lock')]) await rm(lock, { force: true });
}

async function removeBrokenRefs(folder: string, broken: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const id = (await readFile(join(folder, name), 'latin1')).trim();
    if (name === broken || !isObjectId(id)) await rm(join(folder, name), { force: true });
  }
}

/** The remote answered, and does not have what was asked for. */
function isNotThere(error: unknown): boolean {
  return /not our ref|couldn't find remote ref|unadvertised object|bad object|did not send all necessary objects/i.test(
    causeOf(error),
  );
}

/** The same error in words that say what to do about it. */
export function explained(error: unknown): unknown {
  if (!(error instanceof InfrastructureError) || error.code !== 'git-failed') return error;
  const words = causeOf(error);
  const because = (code: string, message: string, retryable: boolean) =>
    new InfrastructureError(code, message, { cause: error, retryable });
  // Phrases with a space in them: single words and numbers may be of the address, of a ref, or a count of bytes.
  if (/Authentication failed|could not read Username|Permission denied|returned error: 40[13]/i.test(words))
    return because(
      'git-refused',
      'The forge refused access to the repository: check the token and what it may read',
      false,
    );
  if (/returned error: 30\d/i.test(words))
    return because(
      'git-redirected',
      'The forge answered with a redirect, which is not followed: check the forge address and whether the repository was renamed',
      false,
    );
  if (/repository .* not found|does not exist|does not appear to be a git repository/i.test(words))
    return because('git-no-repository', 'The forge has no such repository, or the token may not see it', false);
  return error;
}

function causeOf(error: unknown): string {
  return error instanceof Error && error.cause !== undefined ? messageOf(error.cause) : messageOf(error);
}
