/** Pipelines of a checkout, run here and now: the parts put together. */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { createCacheStore } from '../../artifacts/cache-store.ts';
import type { Settings } from '../../config/schema.ts';
import { ImpGemError, messageOf } from '../../errors.ts';
import { createLogStore } from '../../logs/log-store.ts';
import type { PipelineEvent } from '../../runs/event.ts';
import { newRecord } from '../../runs/new-record.ts';
import type { Plan } from '../../runs/plan.ts';
import { isRunId, makeRunId } from '../../runs/run-id.ts';
import type { RunRecord } from '../../runs/run.ts';
import { removeTree } from '../../executors/remove-tree.ts';
import { createJobRunner, type JobRunner } from '../../worker/job-runner.ts';
import type { Assignment, JobPorts, JobResult, LogWriter, StateReporter } from '../../worker/ports.ts';
import { chooseExecutor } from '../choose-executor.ts';
import { jobDefaults } from '../job-defaults.ts';
import type { Checkout } from './checkout.ts';
import { clearDeadRuns, newWorkName } from './dead-runs.ts';
import { executeRun } from './execute-run.ts';
import { createLocalArtifacts } from './local-artifacts.ts';
import { createRunView, type RunView } from './run-view.ts';
import type { Screen } from './screen.ts';
import { borrowedObjects, copySnapshot, takeSnapshot } from './snapshot.ts';

export interface CheckoutRun {
  checkout: Checkout;
  settings: Settings;
  event: PipelineEvent;
  secrets: ReadonlyMap<string, string>;
  cancel: AbortSignal;
}

export interface FinishedRun {
  record: RunRecord;
  /** Folder of the artifacts, when there are any. */
  artifacts?: string;
  /** Folder of the logs. */
  logs: string;
}

/** Runs kept in `.impgem/local`, the newest. */
const KEPT_RUNS = 20;

export interface LocalRuns {
  /** `last`: no other plan follows. Settles when the run is over and everything of it is on the screen. */
  run(plan: Plan, screen: Screen, last: boolean): Promise<FinishedRun>;
  /** Removes what only the runs needed; gives a sentence for each thing that stays. The next run tries it again. */
  close(): Promise<string[]>;
}

/** One snapshot and one executor for all pipelines of the checkout. */
export async function openLocalRuns(options: CheckoutRun): Promise<LocalRuns> {
  const { checkout, settings, event, secrets, cancel } = options;
  const folder = resolve(checkout.root, settings.IMPGEM_DATA, 'local');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  // Whatever the repository ignores: this folder is no part of it.
  await writeFile(join(folder, '.gitignore'), '*\n');
  const work = join(folder, newWorkName());
  const executor = await chooseExecutor(settings, { local: folder });
  const snapshot = join(work, 'snapshot');
  const over = new AbortController();
  const taken = takeSnapshot(checkout, snapshot, AbortSignal.any([cancel, over.signal]));
  // Jobs wait for it and say what went wrong.
  taken.catch(() => undefined);
  const cleared = clearDeadRuns(folder, executor);
  cleared.catch(() => undefined);
  const objects = borrowedObjects(checkout);
  const caches = createCacheStore(join(folder, 'caches'));
  const runners: JobRunner[] = [];

  const run: LocalRuns['run'] = async (plan, screen, last) => {
    const createdAt = new Date().toISOString();
    const id = makeRunId(createdAt, randomUUID());
    const { sha, message, author } = checkout;
    const record = { ...newRecord({ id, event, sha, message, author, plan, createdAt }), number: 1 };
    const place = join(folder, id);
    const artifacts = createLocalArtifacts(join(place, 'artifacts'));
    const logs = createLogStore(join(place, 'logs'));
    const view = createRunView(screen, logs);
    const onlyOnce = plan.jobs.length === 1 && plan.jobs[0]?.retry.count === 0;
    const ports: Omit<JobPorts, 'report'> = {
      logs: shown(logs, view),
      artifacts,
      caches,
      secrets: { get: (_, names) => Promise.resolve(new Map([...secrets].filter(([name]) => names.includes(name)))) },
      workspaces: {
        create: async (_, target, signal) => {
          await taken;
          await copySnapshot(snapshot, target, last && onlyOnce, signal);
          return objects === undefined ? {} : { objects };
        },
        objects: () => objects,
      },
    };
    const runnerFor = (report: StateReporter): JobRunner => {
      const runner = createJobRunner({
        executor,
        ports: { ...ports, report },
        folder: work,
        // Whose machine it is does not say whose pipeline: a checkout of a stranger's gets no nested engine either.
        defaults: jobDefaults(settings),
      });
      runners.push(runner);
      return runner;
    };
    const ended = await executeRun(record, {
      plan,
      concurrency: settings.IMPGEM_CONCURRENCY,
      links: checkout.origin === undefined ? {} : { clone: checkout.origin },
      runJob: (assignment, report, signal) => runToEnd(runnerFor(report), assignment, signal),
      onChange: (next) => view.change(next),
      cancel,
    });
    // Whoever reads slowly keeps nothing alive but this process.
    if (last) void close();
    await view.end();
    await logs.dispose();
    return {
      record: ended,
      logs: join(place, 'logs'),
      ...(artifacts.count() > 0 ? { artifacts: join(place, 'artifacts') } : {}),
    };
  };
  const cleanUp = async (): Promise<string[]> => {
    over.abort();
    const stays: string[] = [];
    const removed = (removal: Promise<unknown>): Promise<unknown> =>
      removal.catch((error: unknown) => stays.push(messageOf(error)));
    await Promise.all(runners.map((runner) => removed(runner.idle())));
    await removed(cleared);
    await taken.catch(() => undefined);
    await removed(executor.close());
    await removed(removeTree(work));
    await removed(removeOldRuns(folder));
    return stays;
  };
  let closing: Promise<string[]> | undefined;
  const close = (): Promise<string[]> => (closing ??= cleanUp());
  return { run, close };
}

async function runToEnd(runner: JobRunner, assignment: Assignment, cancel: AbortSignal): Promise<JobResult> {
  const result = await runner.run(assignment, { cancel, detach: NEVER });
  if (result === 'detached') throw new ImpGemError('detached', 'the job was let go, though nobody asked for it');
  return result;
}

const NEVER = new AbortController().signal;

function shown(logs: LogWriter, view: RunView): LogWriter {
  return {
    length: (key) => logs.length(key),
    append: async (key, offset, bytes) => {
      await logs.append(key, offset, bytes);
      view.output(key, offset + bytes.length);
    },
    close: (key) => {
      view.outputEnd(key);
      return logs.close(key);
    },
  };
}

async function removeOldRuns(folder: string): Promise<void> {
  // Ids sort by age.
  const ids = (await readdir(folder)).filter(isRunId).sort();
  for (const id of ids.slice(0, -KEPT_RUNS)) await rm(join(folder, id), { recursive: true, force: true });
}
