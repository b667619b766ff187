/** Intake, planning and runs over a real Redis and a real git remote, without HTTP and processes. */
import { join } from 'node:path';
import { createLogger } from '../../src/cli/logger.ts';
import { type Runs, openRuns } from '../../src/cli/open-runs.ts';
import { readSettings } from '../../src/config/read-settings.ts';
import type { Settings } from '../../src/config/schema.ts';
import type { Forge } from '../../src/forges/forge.ts';
import { createForges } from '../../src/forges/forges.ts';
import { type Git, createGit } from '../../src/git/git.ts';
import { type Deliveries, createDeliveries } from '../../src/intake/deliveries.ts';
import { type Planner, type PlannerDeps, createPlanner } from '../../src/intake/planner.ts';
import { type Pushes, createPushes } from '../../src/intake/pushes.ts';
import { createLogStore } from '../../src/logs/log-store.ts';
import { type Redis, connectRedis } from '../../src/queue/connection.ts';
import { createArchive } from '../../src/runs/archive.ts';
import type { ForgeName } from '../../src/runs/event.ts';
import { type FakeForge, startFakeForge } from './fake-forge.ts';
import { type GitServer, type TestRepository, makeRepository, makeTempFolder, startGitServer } from './git-http.ts';
import { type TestRedis, startRedis } from './redis.ts';

export interface IntakeFixture {
  folder: string;
  server: TestRedis;
  redis: Redis;
  remote: GitServer;
  forge: FakeForge;
  forges: Map<ForgeName, Forge>;
  settings: Settings;
  git: Git;
  runs: Runs;
  deliveries: Deliveries;
  pushes: Pushes;
  planner: Planner;
  /** A git over the same mirrors that waits so long for a remote. */
  gitFor(fetchTimeoutMs: number): Git;
  plannerWith(more: Partial<PlannerDeps>): Planner;
  repository(name: string): Promise<TestRepository>;
  close(): Promise<void>;
}

export const SECRET = 'a-webhook-secret';

export async function startIntake(): Promise<IntakeFixture> {
  const folder = await makeTempFolder();
  const server = await startRedis();
  const forge = await startFakeForge();
  const remote = await startGitServer({ root: join(folder.path, 'git') });
  const settings = readSettings(
    {
      IMPGEM_GITEA_URL: remote.url,
      IMPGEM_GITEA_API_URL: `${forge.url}/api/v1`,
      IMPGEM_GITEA_TOKEN: 'token',
      IMPGEM_GITHUB_URL: remote.url,
      IMPGEM_GITHUB_API_URL: forge.apiUrl,
      IMPGEM_GITHUB_TOKEN: 'token',
      IMPGEM_WEBHOOK_SECRET: SECRET,
      IMPGEM_LOG_LEVEL: 'error',
    },
    folder.path,
  );
  const log = createLogger('test', settings);
  const redis = connectRedis(server.url, 'patient', () => undefined);
  const forges = createForges(settings);
  const gitFor = (fetchTimeoutMs: number): Git =>
    createGit({ folder: join(folder.path, 'mirrors'), allowFile: false, fetchTimeoutMs });
  const git = gitFor(1500);
  const runs = openRuns({
    redis,
    archive: createArchive(join(folder.path, 'runs')),
    archiving: { keep: 100, onEnd: () => undefined },
    forges,
    settings,
    pageOf: (run) => `http://localhost/runs/${run}`,
    log,
  });
  const deliveries = createDeliveries(redis);
  const pushes = createPushes(redis);
  const planning = {
    forges,
    git,
    lifecycle: runs.lifecycle,
    deliveries,
    pushes,
    logs: createLogStore(join(folder.path, 'logs')),
    jobTimeoutMs: 60_000,
    log,
  };
  const planner = createPlanner(planning);
  return {
    folder: folder.path,
    server,
    redis,
    remote,
    forge,
    forges,
    settings,
    git,
    runs,
    deliveries,
    pushes,
    planner,
    gitFor,
    plannerWith: (more) => createPlanner({ ...planning, ...more }),
    repository: (name) => makeRepository(join(folder.path, 'git'), name),
    async close() {
      redis.disconnect();
      await Promise.all([server.stop(), forge.close(), remote.close()]);
      await folder.remove();
    },
  };
}
