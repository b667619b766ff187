/** A run that a person or a script asked for, for a repository and a ref, without a delivery. */
import { randomUUID } from 'node:crypto';
import { ImpGemError, InfrastructureError, InputError } from '../errors.ts';
import type { ForgeName, PipelineEvent } from '../runs/event.ts';
import { parseRepository } from '../runs/event.ts';
import type { RunRecord } from '../runs/run.ts';
import type { Planner } from './planner.ts';

export interface TriggerDeps {
  planner: Pick<Planner, 'plan'>;
  forges: Map<ForgeName, unknown>;
  allowed: (repository: string) => boolean;
  isRefName: (ref: string) => boolean;
}

export type Trigger = (repository: string, ref: string) => Promise<RunRecord[]>;

/** Throws InputError: 422 for a name or ref that cannot be, 403 for a repository not allowed, 404 for what is not there. */
export function createTrigger({ planner, forges, allowed, isRefName }: TriggerDeps): Trigger {
  return async (repository, ref) => {
    const name = parseRepository(repository);
    if (!name)
      throw new InputError('repository-invalid', `repository: "${repository}" is not of the form forge/owner/name`, {
        status: 422,
      });
    if (!forges.has(name.forge))
      throw new InputError('forge-unknown', `No forge "${name.forge}" is set up here`, { status: 422 });
    if (!allowed(repository))
      throw new InputError('repository-not-allowed', `${repository} is not in IMPGEM_ALLOW_REPOSITORIES`, {
        status: 403,
      });
    const event = eventFor(repository, ref, isRefName);
    try {
      const { runs, reason } = await planner.plan(event, `manual ${randomUUID()}`);
      if (runs.length === 0)
        throw new InputError('pipeline-missing', `${repository} has ${reason ?? 'nothing to run'}`, { status: 422 });
      return runs;
    } catch (error) {
      throw asInputError(error);
    }
  };
}

/**
 * Plans the event of a run anew, for one that never had a plan. `plannerOf`: one whose runs are re-runs of that run. Throws
 * as a trigger does when the commit cannot be had.
 */
export function createReplan(plannerOf: (rerunOf: string) => Pick<Planner, 'plan'>) {
  return async (record: RunRecord): Promise<RunRecord[]> => {
    const event = { ...record.source, receivedAt: new Date().toISOString() };
    try {
      return (await plannerOf(record.id).plan(event, `rerun ${randomUUID()}`)).runs;
    } catch (error) {
      throw asInputError(error);
    }
  };
}

const NOT_THERE = ['commit-unknown', 'git-no-repository'];
const NOT_FOR_US = ['git-refused', 'git-redirected'];

/** What the forge will not give, however often one asks, is the caller's to correct; what is away for now is not. */
function asInputError(error: unknown): unknown {
  if (!(error instanceof ImpGemError) || error instanceof InputError) return error;
  const isFinal = NOT_THERE.includes(error.code) || NOT_FOR_US.includes(error.code);
  if (error instanceof InfrastructureError && !isFinal) return error;
  return new InputError(error.code, error.message, {
    status: NOT_THERE.includes(error.code) ? 404 : 422,
    cause: error,
  });
}

/** `main`, `refs/heads/main`, `refs/tags/v1` or a full commit id. */
function eventFor(repository: string, ref: string, isRefName: (ref: string) => boolean): PipelineEvent {
  const base = { kind: 'manual' as const, repository, message: '', author: '', receivedAt: new Date().toISOString() };
  if (/^[0-9a-f]{40}([0-9a-f]{24})?$/.test(ref)) return { ...base, ref, sha: ref };
  const full = ref.startsWith('refs/') ? ref : `refs/heads/${ref}`;
  if (!isRefName(full))
    throw new InputError('ref-invalid', `ref: "${ref}" is not the name of a branch, a tag or a commit`, {
      status: 422,
    });
  const branch = /^refs\/heads\/(.+)$/.exec(full)?.[1];
  const tag = /^refs\/tags\/(.+)$/.exec(full)?.[1];
  return { ...base, ref: full, ...(branch === undefined ? {} : { branch }), ...(tag === undefined ? {} : { tag }) };
}
