/** Event -> runs: fetch the commit, read its pipelines, plan them, set the runs going. Safe to do twice. */
import { ImpGemError, InfrastructureError, messageOf } from '../errors.ts';
import type { Forge } from '../forges/forge.ts';
import { skipReason } from '../forges/skip-words.ts';
import type { Change } from '../git/changed-paths.ts';
import type { Git } from '../git/git.ts';
import { findPipelines, type LoadedPipeline, PIPELINE_PATHS } from '../pipeline/find-pipelines.ts';
import { firstLine, renderDiagnostics } from '../pipeline/render-diagnostics.ts';
import { planPipeline } from '../pipeline/plan-pipeline.ts';
import { type ForgeName, type PipelineEvent, parseRepository } from '../runs/event.ts';
import type { Lifecycle } from '../runs/lifecycle.ts';
import type { Plan } from '../runs/plan.ts';
import type { LogKey, RunRecord } from '../runs/run.ts';
import { makeRunId } from '../runs/run-id.ts';
import type { Deliveries } from './deliveries.ts';

export interface PlannerDeps {
  forges: Map<ForgeName, Forge>;
  git: Git;
  lifecycle: Pick<Lifecycle, 'start'>;
  deliveries: Pick<Deliveries, 'conclude' | 'get' | 'countFailure'>;
  /** Runs that catch-up made for this push, whose delivery came after all. */
  caughtUp(event: PipelineEvent): Promise<RunRecord[]>;
  logs: { append(key: LogKey, offset: number, bytes: Buffer): Promise<void>; close(key: LogKey): Promise<void> };
  jobTimeoutMs: number;
  log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
}

export interface Planned {
  runs: RunRecord[];
  /** Why there is none. */
  reason?: string;
}

export interface Planner {
  /**
   * Plans one event. `cause` names what asked for it: the same cause gives the same runs. Throws ImpGemError when the
   * commit cannot be had.
   */
  plan(event: PipelineEvent, cause: string): Promise<Planned>;
  /** For the queue: plans a delivery's event and records what became of it; ms until the next try, or undefined. */
  handle(event: PipelineEvent, tries: number): Promise<number | undefined>;
}

const ATTEMPTS = 3;
const NO_PLAN: Plan = {
  pipeline: '',
  file: '',
  clone: { skip: false, depth: 0, submodules: false, lfs: false },
  jobs: [],
};

export function createPlanner(deps: PlannerDeps): Planner {
  const plan = async (event: PipelineEvent, cause: string): Promise<Planned> => {
    const repository = parseRepository(event.repository);
    const forge = repository && deps.forges.get(repository.forge);
    if (!repository || !forge) throw new ImpGemError('forge-unknown', `No forge is set up for ${event.repository}`);
    const source = forge.clone(repository.owner, repository.name);
    const base = baseOf(event);
    const commit = await deps.git.fetchCommit(source, event.repository, {
      ref: event.ref,
      ...(event.sha === undefined ? {} : { sha: event.sha }),
      ...(base === undefined ? {} : { also: [base] }),
      isNew: event.kind === 'push' && event.delivery !== undefined,
      read: PIPELINE_PATHS,
    });
    // Asked of the commit itself: a pull request's delivery does not carry its message, and catch-up has no delivery.
    const skipped = skipReason(event.kind, commit.message);
    if (skipped !== undefined) return { runs: [], reason: skipped };
    const loaded = await findPipelines({
      list: async (folder) =>
        ((await deps.git.listFolder(event.repository, commit, folder)) ?? []).map((entry) => entry.name),
      read: async (path) => (await deps.git.readFile(event.repository, commit, path))?.toString('utf8'),
    });
    if (loaded.length === 0) return { runs: [], reason: `no .impgem.yml at ${commit.sha.slice(0, 12)}` };
    const changedPaths = loaded.some((one) => one.pipeline && asksForPaths(one))
      ? await deps.git.changedPaths(event.repository, changeOf(event, commit.sha, base))
      : undefined;
    const runs = await Promise.all(
      loaded.map(async (one) => {
        const planned = one.pipeline
          ? planPipeline(one.pipeline, {
              event: { ...event, sha: commit.sha },
              ...(changedPaths === undefined ? {} : { changedPaths }),
              defaults: { jobTimeoutMs: deps.jobTimeoutMs },
            })
          : { diagnostics: one.diagnostics };
        const id = makeRunId(event.receivedAt, `${cause} ${one.file}`);
        const bad = planned.plan === undefined;
        const diagnostics = one.pipeline ? [...one.diagnostics, ...planned.diagnostics] : one.diagnostics;
        if (bad) await writeRunLog(id, renderDiagnostics(diagnostics, one.sources));
        const { record } = await deps.lifecycle.start({
          id,
          event: { ...event, sha: commit.sha },
          sha: commit.sha,
          message: commit.message.trimEnd(),
          author: commit.author,
          plan: planned.plan ?? { ...NO_PLAN, file: one.file, pipeline: one.name },
          ...(bad ? { error: firstLine(diagnostics) } : {}),
          createdAt: event.receivedAt,
        });
        return record;
      }),
    );
    return { runs };
  };

  /** A run that shows why nothing could be run. */
  const startErrored = async (event: PipelineEvent, cause: string, reason: string): Promise<string[]> => {
    if (event.sha === undefined) return [];
    const id = makeRunId(event.receivedAt, cause);
    await writeRunLog(id, `${reason}\n`);
    const { record } = await deps.lifecycle.start({
      id,
      event,
      sha: event.sha,
      message: event.message,
      author: event.author,
      plan: NO_PLAN,
      error: reason,
      createdAt: event.receivedAt,
    });
    return [record.id];
  };

  const writeRunLog = async (run: string, text: string): Promise<void> => {
    const key: LogKey = { run, job: '', attempt: 1, part: 'run' };
    await deps.logs.append(key, 0, Buffer.from(text));
    await deps.logs.close(key);
  };

  return {
    plan,
    async handle(event, tries) {
      const delivery = event.delivery ?? '';
      const name = { id: delivery, forge: parseRepository(event.repository)?.forge ?? '' };
      const fields = { delivery, repository: event.repository, ref: event.ref };
      const known = await deps.deliveries.get(name.id, name.forge);
      // Done already, or overtaken by a redelivery, whose own event is in the queue.
      if (known && (known.state !== 'queued' || known.tries !== tries)) return undefined;
      const cause = `${event.repository} ${delivery} ${tries}`;
      let planned: Planned;
      try {
        const caughtUp = await deps.caughtUp(event);
        planned = caughtUp.length > 0 ? { runs: caughtUp, reason: 'found by catch-up' } : await plan(event, cause);
      } catch (error) {
        const reason = error instanceof ImpGemError ? error.message : `planning failed: ${messageOf(error)}`;
        const failures = await deps.deliveries.countFailure(name);
        deps.log.warn({ ...fields, failures }, reason);
        // What is not an error of ours may be Redis refusing a write.
        const mayPass = !(error instanceof ImpGemError) || (error instanceof InfrastructureError && error.retryable);
        if (mayPass && failures < ATTEMPTS) return 1000 * 2 ** failures;
        const runs = await startErrored(event, cause, reason);
        await deps.deliveries.conclude(name, tries, { state: 'failed', reason, runs });
        return undefined;
      }
      const { reason } = planned;
      const runs = planned.runs.map((run) => run.id);
      const state = runs.length > 0 ? 'planned' : 'ignored';
      await deps.deliveries.conclude(name, tries, { state, ...(reason === undefined ? {} : { reason }), runs });
      deps.log.info({ ...fields, runs }, reason ?? 'planned');
      return undefined;
    },
  };
}

function asksForPaths({ sources }: LoadedPipeline): boolean {
  return Object.values(sources).some((text) => text.includes('paths'));
}

/** The full ref that a pull request, or a new branch, is compared with: their common ancestor is the base. */
function baseOf(event: PipelineEvent): string | undefined {
  const branch =
    event.pullRequest?.targetBranch ??
    (event.kind === 'push' && event.before === undefined ? event.defaultBranch : undefined);
  return branch === undefined || `refs/heads/${branch}` === event.ref ? undefined : `refs/heads/${branch}`;
}

function changeOf(event: PipelineEvent, sha: string, base: string | undefined): Change {
  if (base !== undefined) return { sha, mergeBaseWith: base };
  return event.before === undefined ? { sha } : { sha, before: event.before };
}
