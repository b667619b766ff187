/** What git knows of the checkout that `impgem run` runs. Reads only: the user's repository is never written. */
import { readFile, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { InputError } from '../../errors.ts';
import { runGit } from '../../git/run-git.ts';

export interface Checkout {
  /** Top folder. */
  root: string;
  gitDir: string;
  /** Objects and refs; another folder than gitDir in a linked worktree. */
  commonDir: string;
  /** It borrows objects of another repository (`git clone --shared`, `--reference`). */
  borrows: boolean;
  sha: string;
  /** Absent: HEAD is detached. */
  branch?: string;
  message: string;
  author: string;
  authorEmail: string;
  /** Address of `origin`, without credentials. */
  origin?: string;
}

const TIMEOUT_MS = 60_000;

/** Throws InputError `not-a-checkout` or `no-commit`, saying what to do. */
export async function openCheckout(folder: string): Promise<Checkout> {
  const found = await findGitDir(resolve(folder));
  if (!found)
    throw new InputError('not-a-checkout', `${folder} is in no git repository: git init && git add . && git commit`);
  const { root, gitDir } = found;
  const commonDir = await readFile(join(gitDir, 'commondir'), 'utf8').then(
    (text) => resolve(gitDir, text.trim()),
    () => gitDir,
  );
  const borrows = await stat(join(commonDir, 'objects/info/alternates')).then(
    () => true,
    () => false,
  );
  const git = gitIn({ root, gitDir });
  const [head, name, config] = await Promise.all([
    git(['log', '-1', '--no-show-signature', '--format=%H%x00%an%x00%ae%x00%B']).catch((error: unknown) => {
      throw new InputError('no-commit', `${root} has no commit yet: git add . && git commit`, { cause: error });
    }),
    git(['rev-parse', '--symbolic-full-name', 'HEAD']).catch(() => ''),
    git(['config', '--local', '-z', '--list']).catch(() => ''),
  ]);
  const [sha = '', author = '', authorEmail = '', message = ''] = head.trimEnd().split('\0');
  const branch = /^refs\/heads\/(.+)$/.exec(name.trim())?.[1];
  const origin = /(?:^|\0)remote\.origin\.url\n([^\0]*)/.exec(config)?.[1];
  return {
    root,
    gitDir,
    commonDir,
    borrows,
    sha,
    message,
    author,
    authorEmail,
    ...(branch === undefined ? {} : { branch }),
    ...(origin === undefined ? {} : { origin: withoutCredentials(origin) }),
  };
}

/** Files as they are now: tracked ones, changed or not, and new ones that are not ignored. Deleted ones may be in it. */
export async function listCheckout(checkout: Checkout): Promise<string[]> {
  const names = await gitIn(checkout)(['ls-files', '-z', '--cached', '--others', '--exclude-standard']);
  return [...new Set(names.split('\0'))].filter((name) => name !== '');
}

/** Tags as lines of `packed-refs`, so that `git describe` works in a step. */
export async function packedTags(checkout: Checkout): Promise<string> {
  return gitIn(checkout)(['for-each-ref', '--format=%(objectname) %(refname)', 'refs/tags']);
}

function gitIn({ root, gitDir }: Pick<Checkout, 'root' | 'gitDir'>): (args: string[]) => Promise<string> {
  // The account's own list of files that git never sees, in its usual place; the rest of its settings plays no part.
  const ignored = join(process.env['XDG_CONFIG_HOME'] ?? join(homedir(), '.config'), 'git', 'ignore');
  return async (args) =>
    (
      await runGit({
        gitDir,
        workTree: root,
        allowFile: false,
        timeoutMs: TIMEOUT_MS,
        settings: [
          ['core.excludesFile', ignored],
          ['core.quotePath', 'false'],
        ],
        args,
      })
    ).toString();
}

async function findGitDir(folder: string): Promise<{ root: string; gitDir: string } | undefined> {
  for (let root = folder; ; root = dirname(root)) {
    const git = join(root, '.git');
    const status = await stat(git).catch(() => undefined);
    if (status?.isDirectory()) return { root, gitDir: git };
    if (status?.isFile()) {
      const link = /^gitdir: (.+)$/m.exec(await readFile(git, 'utf8'))?.[1];
      if (link !== undefined) return { root, gitDir: resolve(root, link) };
    }
    if (dirname(root) === root) return undefined;
  }
}

function withoutCredentials(address: string): string {
  return address.replace(/^([a-z]+:\/\/)[^/@]*@/i, '$1');
}
