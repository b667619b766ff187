/** The event that `impgem run` pretends: by default a push of what is checked out. */
import { basename } from 'node:path';
import { InputError } from '../../errors.ts';
import type { EventKind, PipelineEvent } from '../../runs/event.ts';
import type { Checkout } from './checkout.ts';

export interface EventChoice {
  event: EventKind;
  branch?: string;
  tag?: string;
  /** Host names of the forges that are set up: `github.com` is github. */
  forges: { github: string; gitea?: string };
}

/** Throws InputError `tag-needed`. */
export function localEvent(checkout: Checkout, choice: EventChoice, now: string): PipelineEvent {
  const branch = choice.branch ?? checkout.branch ?? 'main';
  const base: PipelineEvent = {
    kind: choice.event,
    repository: repositoryName(checkout, choice.forges),
    ref: `refs/heads/${branch}`,
    branch,
    sha: checkout.sha,
    message: checkout.message,
    author: checkout.author,
    authorEmail: checkout.authorEmail,
    receivedAt: now,
  };
  if (choice.event === 'tag') {
    if (choice.tag === undefined) throw new InputError('tag-needed', 'A tag event needs its tag: --tag v1.0.0');
    const { branch: _, ...rest } = base;
    return { ...rest, ref: `refs/tags/${choice.tag}`, tag: choice.tag };
  }
  if (choice.event !== 'pull_request') return base;
  const source = checkout.branch ?? branch;
  const pullRequest = {
    number: 1,
    title: checkout.message.split('\n')[0] ?? '',
    action: 'opened',
    sourceBranch: source,
    targetBranch: branch,
    fork: false,
  };
  return { ...base, ref: 'refs/pull/1/head', branch: source, pullRequest };
}

/** `forge/owner/name` when `origin` is on a forge that is set up; else the folder's name. */
function repositoryName({ origin = '', root }: Checkout, forges: EventChoice['forges']): string {
  const match = /^(?:[a-z+]+:\/\/)?(?:[^/@]*@)?([^/:]+)(?::\d+)?[/:](.+\/)?([\w.-]+)\/([\w.-]+?)(?:\.git)?\/?$/i.exec(
    origin,
  );
  const [, host, , owner, name] = match ?? [];
  const forge = host === forges.github ? 'github' : host !== undefined && host === forges.gitea ? 'gitea' : undefined;
  if (forge !== undefined && owner !== undefined && name !== undefined) return `${forge}/${owner}/${name}`;
  return `local/local/${basename(root).replaceAll(/[^\w.-]/g, '-') || 'checkout'}`;
}
