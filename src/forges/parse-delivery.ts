/** What a push or a pull request means to us: GitHub and Gitea name the same fields. */
import type { IncomingHttpHeaders } from 'node:http';
import { InputError } from '../errors.ts';
import type { ForgeName, PipelineEvent } from '../runs/event.ts';
import type { ParsedDelivery } from './forge.ts';
import {
  branchAt,
  type Fields,
  lineAt,
  objectAt,
  objectIdAt,
  positiveIntegerAt,
  refAt,
  repositoryAt,
  textAt,
  valueAt,
} from './payload.ts';
import { isBranchName } from './ref-name.ts';
import { skipReason } from './skip-words.ts';

export interface DeliveryContext {
  forge: ForgeName;
  delivery: string;
  forgeEvent: string;
  receivedAt: string;
}

/** Actions of a pull request that bring something new to build; Gitea says `synchronized`. */
const PULL_REQUEST_ACTIONS = ['opened', 'synchronize', 'synchronized', 'reopened'];

/** A header that names something (an event, a delivery), by an allow-list. Throws InputError `header-invalid`. */
export function nameHeader(headers: IncomingHttpHeaders, name: string): string {
  const value = headers[name];
  if (typeof value !== 'string' || !/^[A-Za-z0-9_.-]{1,100}$/.test(value))
    throw new InputError('header-invalid', `${name}: must be set, once, by the forge`);
  return value;
}

export function parseDelivery(context: DeliveryContext, body: Fields): ParsedDelivery {
  const { forge, forgeEvent } = context;
  if (forgeEvent === 'push') return parsePush(context, body);
  if (forgeEvent === 'pull_request') return parsePullRequest(context, body);
  // An organisation's or an app's events have no repository.
  const hasRepository = valueAt(body, 'repository.full_name') !== undefined;
  const repository = hasRepository ? repositoryAt(body, 'repository.full_name', forge) : undefined;
  return ignored(context, repository, forgeEvent === 'ping' ? 'ping' : `event ${forgeEvent} starts nothing`);
}

function parsePush(context: DeliveryContext, body: Fields): ParsedDelivery {
  const repository = repositoryAt(body, 'repository.full_name', context.forge);
  const ref = refAt(body, 'ref');
  const before = objectIdAt(body, 'before');
  const sha = objectIdAt(body, 'after');
  const [, where, name = ''] = /^refs\/(heads|tags)\/(.*)$/.exec(ref) ?? [];
  if (where === undefined) return ignored(context, repository, `${ref} is neither a branch nor a tag`);
  if (!isBranchName(name)) throw new InputError('payload-invalid', `ref: ${JSON.stringify(ref)} is not allowed`);
  const isTag = where === 'tags';
  if (sha === undefined) return ignored(context, repository, `${isTag ? 'tag' : 'branch'} deleted`);
  if (name.startsWith('gh-readonly-queue/')) return ignored(context, repository, 'branch of the merge queue');
  const kind = isTag ? 'tag' : 'push';
  const message = textAt(body, 'head_commit.message');
  const skip = skipReason(kind, message);
  if (skip !== undefined) return { ...ignored(context, repository, skip), push: { repository, ref, sha } };
  return event(context, repository, {
    kind,
    ref,
    ...(isTag ? { tag: name } : { branch: name }),
    sha,
    ...(before === undefined ? {} : { before }),
    message,
    author: lineAt(body, 'head_commit.author.name') || lineAt(body, 'pusher.name') || lineAt(body, 'pusher.login'),
    ...optional('authorEmail', lineAt(body, 'head_commit.author.email')),
    ...defaultBranch(body),
  });
}

function parsePullRequest(context: DeliveryContext, body: Fields): ParsedDelivery {
  const repository = repositoryAt(body, 'repository.full_name', context.forge);
  const action = lineAt(body, 'action');
  const number = positiveIntegerAt(body, 'pull_request.number');
  if (!PULL_REQUEST_ACTIONS.includes(action))
    return ignored(context, repository, `pull request ${action || 'event without action'}: nothing new to build`);
  const sourceBranch = branchAt(body, 'pull_request.head.ref');
  const targetBranch = branchAt(body, 'pull_request.base.ref');
  const sha = objectIdAt(body, 'pull_request.head.sha');
  if (sha === undefined) throw new InputError('payload-invalid', 'pull_request.head.sha: must be a full hex object id');
  // Null when the fork was deleted.
  const source =
    valueAt(body, 'pull_request.head.repo') === null
      ? undefined
      : repositoryAt(objectAt(body, 'pull_request.head.repo'), 'full_name', context.forge);
  if (source?.toLowerCase() !== repository.toLowerCase())
    return ignored(context, repository, `pull request ${number} comes from a fork (${source ?? 'deleted'})`);
  return event(context, repository, {
    kind: 'pull_request',
    ref: `refs/pull/${number}/head`,
    // As filters mean it: the branch that the change is for.
    branch: targetBranch,
    sha,
    message: textAt(body, 'pull_request.title'),
    author: lineAt(body, 'pull_request.user.login'),
    pullRequest: { number, title: lineAt(body, 'pull_request.title'), action, sourceBranch, targetBranch, fork: false },
    ...defaultBranch(body),
  });
}

function event(
  context: DeliveryContext,
  repository: string,
  fields: Omit<PipelineEvent, 'repository' | 'delivery' | 'receivedAt'>,
): ParsedDelivery {
  const { delivery, forgeEvent, receivedAt } = context;
  return { kind: 'event', delivery, forgeEvent, repository, event: { ...fields, repository, delivery, receivedAt } };
}

function ignored(
  context: DeliveryContext,
  repository: string | undefined,
  reason: string,
): ParsedDelivery & { kind: 'ignored' } {
  const { delivery, forgeEvent } = context;
  return { kind: 'ignored', delivery, forgeEvent, ...(repository === undefined ? {} : { repository }), reason };
}

function defaultBranch(body: Fields): { defaultBranch?: string } {
  const path = 'repository.default_branch';
  const value = valueAt(body, path);
  return value === undefined || value === null || value === '' ? {} : { defaultBranch: branchAt(body, path) };
}

function optional<K extends string>(key: K, value: string): Partial<Record<K, string>> {
  return value === '' ? {} : ({ [key]: value } as Record<K, string>);
}
