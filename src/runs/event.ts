/** What a delivery means to us: the normalised event that the planner turns into runs. Plain JSON: it travels in the queue. */

export type ForgeName = 'github' | 'gitea';
export type EventKind = 'push' | 'tag' | 'pull_request' | 'cron' | 'manual' | 'api';

export interface PullRequest {
  number: number;
  title: string;
  /** As the forge says it: opened, synchronize(d), reopened. */
  action: string;
  sourceBranch: string;
  targetBranch: string;
  /** True when the head is in another repository: no secrets, and never in the same repository's cache. */
  fork: boolean;
}

export interface PipelineEvent {
  kind: EventKind;
  /** `forge/owner/name`; identity comes from the configured forge plus `owner/name`, never from an address in a payload. */
  repository: string;
  /** Full ref: `refs/heads/main`, `refs/tags/v1`, `refs/pull/3/head`. */
  ref: string;
  branch?: string;
  tag?: string;
  /** Hex object id to build; for an annotated tag the tag object: the planner peels it to the commit. Absent for `manual`: resolved from `ref`. */
  sha?: string;
  /** What the ref pointed at before; absent when it was created. */
  before?: string;
  message: string;
  author: string;
  authorEmail?: string;
  pullRequest?: PullRequest;
  defaultBranch?: string;
  /** Name of the cron entry, for `cron`. */
  cron?: string;
  /** The forge's delivery id, when a delivery brought the event. */
  delivery?: string;
  /** Set when no delivery brought it: the push was found by looking at the forge. */
  foundBy?: 'catch-up';
  /** ISO 8601. */
  receivedAt: string;
}

export interface RepositoryName {
  forge: ForgeName;
  owner: string;
  name: string;
}

/** `forge/owner/name` taken apart; undefined when it is not of that form. */
export function parseRepository(text: string): RepositoryName | undefined {
  const match = /^(github|gitea)\/([A-Za-z0-9_.-]{1,100})\/([A-Za-z0-9_.-]{1,100})$/.exec(text);
  if (!match) return undefined;
  const [, forge, owner, name] = match as unknown as [string, ForgeName, string, string];
  const unsafe = (part: string) => part === '.' || part === '..' || part.startsWith('-');
  return unsafe(owner) || unsafe(name) ? undefined : { forge, owner, name };
}
