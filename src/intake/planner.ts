/** Event -> runs: fetch the commit, read its pipelines, plan them, set the runs going. Safe to do twice. */
import { ImpGemError, InfrastructureError, messageOf } from '../errors.ts';
import type { Forge } from '../forges/forge.ts';
import { asLine, asText } from '../forges/payload.ts';
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
import type { Pushes } from './pushes.ts';

export interface PlannerDeps {
  forges: Map<ForgeName, Forge>;
  git: Git;
  lifecycle: Pick<Lifecycle, 'start'>;
  deliveries: Pick<Deliveries, 'conclude' | 'get' | 'countFailure'>;
  pushes: Pick<Pushes, 'foundAs'>;
  logs: { append(key: LogKey, offset: number, bytes: Buffer): Promise<void>; close(key: LogKey): Promise<void> };
  jobTimeoutMs: number;
  log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
}

export interface Planned {
  runs: RunRecord[];
  /** Why there is none. */
  reason?: string;
}

export interface Settled extends Planned {
  /** The commit could not be had, or not all of its pipelines set going; the runs say why. */
  failed?: true;
}

export interface Planner {
  /**
   * Plans one event. `cause` names what asked for it: the same cause gives the same runs. Throws ImpGemError when the
   * commit cannot be had.
   */
  plan(event: PipelineEvent, cause: string): Promise<Planned>;
  /**
   * As `plan`, but what no further try can help ends in a run that says why. Throws what may pass, unless
   * `countFailure`, which gives how often it failed by now, says that it was tried often enough.
   */
  settle(event: PipelineEvent, cause: string, countFailure: () => Promise<number>): Promise<Settled>;
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
  /** `started` gets every run that was set going, also when another one could not be. */
  const plan = async (event: PipelineEvent, cause: string, started: RunRecord[] = []): Promise<Planned> => {
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
    // Of the commit itself: a pull request's delivery does not carry its message, and catch-up has no delivery.
    const { sha } = commit;
    const message = asText(commit.message).trimEnd();
    const [author, authorEmail] = [asLine(commit.author), asLine(commit.authorEmail)];
    const known = { ...event, sha, message, author, authorEmail };
    const skipped = skipReason(event.kind, message);
    if (skipped !== undefined) return { runs: [], reason: skipped };
    const loaded = await findPipelines({
      list: async (folder) =>
        ((await deps.git.listFolder(event.repository, commit, folder)) ?? []).map((entry) => entry.name),
      read: async (path) => (await deps.git.readFile(event.repository, commit, path))?.toString('utf8'),
    });
    if (loaded.length === 0) return { runs: [], reason: `no .impgem.yml at ${sha.slice(0, 12)}` };
    const changedPaths = loaded.some((one) => one.pipeline && asksForPaths(one))
      ? await deps.git.changedPaths(event.repository, changeOf(event, sha, base))
      : undefined;
    const starts = await Promise.allSettled(
      loaded.map(async (one) => {
        const planned = one.pipeline
          ? planPipeline(one.pipeline, {
              event: known,
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
          event: known,
          sha,
          message,
          author,
          plan: planned.plan ?? { ...NO_PLAN, file: one.file, pipeline: one.name },
          ...(bad ? { error: firstLine(diagnostics) } : {}),
          createdAt: event.receivedAt,
        });
        started.push(record);
        return record;
      }),
    );
    return { runs: starts.map(valueOf) };
  };

  /** A run that shows why nothing could be run. */
  const startErrored = async (event: PipelineEvent, cause: string, reason: string): Promise<RunRecord[]> => {
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
    return [record];
  };

  const writeRunLog = async (run: string, text: string): Promise<void> => {
    const key: LogKey = { run, job: '', attempt: 1, part: 'run' };
    await deps.logs.append(key, 0, Buffer.from(text));
    await deps.logs.close(key);
  };

  const settle: Planner['settle'] = async (event, cause, countFailure) => {
    const started: RunRecord[] = [];
    try {
      return await plan(event, cause, started);
    } catch (error) {
      const reason = error instanceof ImpGemError ? error.message : `planning failed: ${messageOf(error)}`;
      const failures = await countFailure();
      deps.log.warn({ repository: event.repository, ref: event.ref, delivery: event.delivery, failures }, reason);
      // What is not an error of ours may be Redis refusing a write.
      const mayPass = !(error instanceof ImpGemError) || (error instanceof InfrastructureError && error.retryable);
      if (mayPass && failures < ATTEMPTS) throw error;
      return { runs: [...started, ...(await startErrored(event, cause, reason))], reason, failed: true };
    }
  };

  return {
    plan: (event, cause) => plan(event, cause),
    settle,
    async handle(event, tries) {
      const delivery = event.delivery ?? '';
      const name = { id: delivery, forge: parseRepository(event.repository)?.forge ?? '' };
      const known = await deps.deliveries.get(name.id, name.forge);
      // Done already, or overtaken by a redelivery, whose own event is in the queue.
      if (known && (known.state !== 'queued' || known.tries !== tries)) return undefined;
      const found = await deps.pushes.foundAs(event);
      const { cause, receivedAt } = found ?? {
        cause: `${event.repository} ${delivery} ${tries}`,
        receivedAt: event.receivedAt,
      };
      let failures = 0;
      let settled: Settled;
      try {
        settled = await settle({ ...event, receivedAt }, cause, async () => {
          failures = await deps.deliveries.countFailure(name);
          return failures;
        });
      } catch (error) {
        // Nothing is counted when Redis itself is the trouble: the queue tries again.
        if (failures === 0) throw error;
        return 1000 * 2 ** failures;
      }
      const reason = settled.reason ?? (found && 'found by catch-up');
      const runs = settled.runs.map((run) => run.id);
      const state = settled.failed ? 'failed' : runs.length > 0 ? 'planned' : 'ignored';
      await deps.deliveries.conclude(name, tries, { state, ...(reason === undefined ? {} : { reason }), runs });
      if (!settled.failed)
        deps.log.info({ delivery, repository: event.repository, ref: event.ref, runs }, reason ?? 'planned');
      return undefined;
    },
  };
}

function valueOf<T>(result: PromiseSettledResult<T>): T {
  if (result.status === 'rejected') throw result.reason;
  return result.value;
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
