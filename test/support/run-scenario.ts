/** Runs a pipeline file through planner, state machine, job runner and sandbox, without a server, and tells what came of it. */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createArtifactStore } from '../../src/artifacts/artifact-store.ts';
import { createCacheStore } from '../../src/artifacts/cache-store.ts';
import { executeRun } from '../../src/cli/local/execute-run.ts';
import type { Executor } from '../../src/executors/executor.ts';
import { createLogStore } from '../../src/logs/log-store.ts';
import { findPipelines } from '../../src/pipeline/find-pipelines.ts';
import { planPipeline } from '../../src/pipeline/plan-pipeline.ts';
import type { PipelineEvent } from '../../src/runs/event.ts';
import { newRecord } from '../../src/runs/new-record.ts';
import type { RunRecord } from '../../src/runs/run.ts';
import { createJobRunner } from '../../src/worker/job-runner.ts';
import { DEFAULTS } from './run-job.ts';

export interface Given {
  branch?: string;
  message?: string;
  changed?: string[];
  secrets?: Record<string, string>;
  files?: Record<string, string>;
}

export interface ScenarioResult {
  record: RunRecord;
  /** Text by `job/part`, of the last attempt. */
  logs: Map<string, string>;
  /** `job/path`. */
  artifacts: string[];
}

const SHA = 'a'.repeat(40);
const NEVER = new AbortController().signal;

export async function runScenario(
  executor: Executor,
  folder: string,
  yml: string,
  given: Given,
): Promise<ScenarioResult> {
  const { branch = 'main', message = 'a commit' } = given;
  const event: PipelineEvent = {
    kind: 'push',
    repository: 'gitea/acme/app',
    ref: `refs/heads/${branch}`,
    branch,
    sha: SHA,
    message,
    author: 'Ann',
    defaultBranch: 'main',
    receivedAt: '2026-01-02T03:04:05.000Z',
  };
  const [loaded] = await findPipelines({
    list: () => Promise.resolve([]),
    read: (path) => Promise.resolve(path === '.impgem.yml' ? yml : undefined),
  });
  const planned =
    loaded?.pipeline &&
    planPipeline(loaded.pipeline, {
      event,
      defaults: { jobTimeoutMs: 60_000 },
      ...(given.changed === undefined ? {} : { changedPaths: given.changed }),
    });
  if (!planned?.plan)
    throw new Error(JSON.stringify([...(loaded?.diagnostics ?? []), ...(planned?.diagnostics ?? [])]));

  const logs = createLogStore(join(folder, 'logs'));
  const artifacts = createArtifactStore(join(folder, 'artifacts'));
  const ports = {
    logs,
    artifacts,
    caches: createCacheStore(join(folder, 'caches')),
    secrets: {
      get: (_: string, names: string[]) =>
        Promise.resolve(new Map(Object.entries(given.secrets ?? {}).filter(([name]) => names.includes(name)))),
    },
    workspaces: {
      create: async (_: unknown, target: string) => {
        for (const [path, text] of Object.entries(given.files ?? {})) {
          await mkdir(dirname(join(target, path)), { recursive: true });
          await writeFile(join(target, path), text);
        }
        return {};
      },
    },
  };
  const { plan } = planned;
  const first = newRecord({
    id: 'scenario',
    event,
    sha: SHA,
    message,
    author: 'Ann',
    plan,
    createdAt: event.receivedAt,
  });
  const record = await executeRun(first, {
    plan,
    concurrency: 2,
    links: {},
    cancel: NEVER,
    onChange: () => undefined,
    runJob: async (assignment, report, cancel) => {
      const runner = createJobRunner({
        executor,
        ports: { ...ports, report },
        folder: join(folder, 'work'),
        defaults: DEFAULTS,
      });
      const result = await runner.run(assignment, { cancel, detach: NEVER });
      await runner.idle();
      if (result === 'detached') throw new Error('detached');
      return result;
    },
  });
  const texts = new Map<string, string>();
  for (const key of await logs.list('scenario')) {
    let text = '';
    for await (const block of logs.read(key, 0)) text += block.toString();
    texts.set(`${key.job}/${key.part}`, text);
  }
  await logs.dispose();
  const kept = (await artifacts.manifest('scenario')).map(({ job, path }) => `${job}/${path}`);
  return { record, logs: texts, artifacts: kept };
}
