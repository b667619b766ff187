/** Builds the server from its settings: nothing else in the product builds these parts. */
import { mkdir, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createArtifactStore } from '../artifacts/artifact-store.ts';
import { createCacheStore } from '../artifacts/cache-store.ts';
import type { Settings } from '../config/schema.ts';
import { parseDuration } from '../config/units.ts';
import { messageOf } from '../errors.ts';
import { createForges } from '../forges/forges.ts';
import { isRefName } from '../forges/ref-name.ts';
import { createAllowList } from '../intake/allow-list.ts';
import { createDeliveries } from '../intake/deliveries.ts';
import { PLANNERS, planFairly } from '../intake/fair-planning.ts';
import { type PlannerDeps, createPlanner } from '../intake/planner.ts';
import { openJournal } from '../intake/journal.ts';
import { createCalm } from '../intake/calm.ts';
import { createPushes } from '../intake/pushes.ts';
import { createEnqueue, createReceive, isAcceptedDelivery } from '../intake/receive.ts';
import { createReplan, createTrigger } from '../intake/trigger.ts';
import { createLogStore } from '../logs/log-store.ts';
import { type Redis, checkRedis, isRedisAway, isRedisFull } from '../queue/connection.ts';
import { createEventTurns } from '../queue/event-turns.ts';
import { createFeed } from '../queue/feed.ts';
import { EVENT_QUEUE, type EventPayload, STATUS_QUEUE, type StatusPayload, consume } from '../queue/queues.ts';
import { announceLogs } from '../runs/announce-logs.ts';
import { createArchive } from '../runs/archive.ts';
import { type ReconcilerDeps, createReconciler } from '../runs/reconciler.ts';
import { createRetention } from '../runs/retention.ts';
import type { RunRecord } from '../runs/run.ts';
import { createRunService } from '../runs/run-service.ts';
import { createApp } from '../server/app.ts';
import { createMetrics } from '../server/metrics.ts';
import { startServer } from '../server/start-server.ts';
import { atMost } from './at-most.ts';
import { closeLogs } from './close-logs.ts';
import { countEnds, countReceipts } from './count-intake.ts';
import { dataFolder } from './data-folder.ts';
import { gaugesOf } from './gauges.ts';
import { createLogger } from './logger.ts';
import { findMissedPushes } from './missed-pushes.ts';
import { openGit } from './open-git.ts';
import { openRedis, openRuns, sayOnce } from './open-runs.ts';
import { recordRun } from './record-run.ts';
import { viewWorkers } from './view-workers.ts';
import { keepSweeping } from './sweeping.ts';

export interface ServerProcess {
  url: string;
  close(): Promise<void>;
}

/** How long what is being planned or posted may take when the server stops. */
const CLOSE_MS = 5000;
const JOURNAL_BYTES = 256 * 1024 ** 2;
/** Looked at this often, beside at every reconnect. */
const REPLAY_MS = 1000;
const POSTERS = 4;
/** Planning and posting twice is harmless, so a dead server's share is taken over soon. */
const LOCK_MS = 10_000;
/** Less free disk than this and nothing new is taken. */
const MIN_FREE_BYTES = 100 * 1024 ** 2;

export async function runServer(settings: Settings): Promise<ServerProcess> {
  const log = createLogger('server', settings);
  const data = dataFolder(settings);
  await mkdir(data.root, { recursive: true, mode: 0o700 });

  const patient = openRedis(settings, 'patient', log);
  const quick = openRedis(settings, 'fail-fast', log);
  const blocking = openRedis(settings, 'patient', log);
  const subscriber = openRedis(settings, 'patient', log);
  patient.once('ready', () => {
    checkRedis(patient).then(
      (risk) => risk !== undefined && log.warn(risk),
      (error: unknown) => {
        log.fatal(messageOf(error));
        process.exit(3);
      },
    );
  });

  const onError = sayOnce(log);
  const stopping = new AbortController();
  const forges = createForges(settings);
  const archive = createArchive(data.runs, onError);
  let publicUrl = settings.IMPGEM_PUBLIC_URL;
  const pageOf = (run: string): string => `${publicUrl ?? ''}/runs/${run}`;
  const logs = createLogStore(data.logs);
  const metrics = createMetrics();
  const shared = {
    archive,
    archiving: {
      keep: settings.IMPGEM_KEEP_RUNS,
      onEnd: (record: RunRecord) => {
        for (const seen of [
          recordRun(metrics, record, logs),
          closeLogs({ ...logs, close: (key) => announced.close(key) }, record),
        ])
          seen.catch((error: unknown) => onError(messageOf(error)));
      },
    },
    forges,
    settings,
    pageOf,
    onPost: (forge: string, outcome: string) => metrics.count('impgem_statuses_total', { forge, outcome }),
    log,
  };
  const runs = openRuns({ ...shared, redis: patient });
  const web = openRuns({ ...shared, redis: quick });

  const feed = createFeed(subscriber);
  const announced = announceLogs(logs, (message) => runs.store.notify(message));
  const artifacts = createArtifactStore(data.artifacts);
  const git = openGit(settings, data.mirrors);
  const allowed = createAllowList(settings.IMPGEM_ALLOW_REPOSITORIES);
  const planning: PlannerDeps = {
    forges,
    git,
    lifecycle: runs.lifecycle,
    deliveries: countEnds(metrics, createDeliveries(patient)),
    pushes: createPushes(patient),
    logs: announced,
    jobTimeoutMs: parseDuration(settings.IMPGEM_JOB_TIMEOUT) ?? 3_600_000,
    log,
  };
  const planner = createPlanner(planning);
  const deliveries = createDeliveries(quick);
  const journal = await openJournal({
    folder: data.journal,
    isEntry: isAcceptedDelivery,
    maxBytes: JOURNAL_BYTES,
    onError,
  });
  const intake = { deliveries, queues: web.queues, turns: createEventTurns(quick), pushes: createPushes(quick) };
  const enqueue = createEnqueue(intake);
  const replay = (): void => {
    if (journal.pending() === 0 || quick.status !== 'ready') return;
    const count = journal.pending();
    journal
      .replay(async (entry) => {
        await enqueue(entry);
      })
      .then(() => log.info({ count }, 'deliveries from the journal are queued'))
      .catch((error: unknown) => onError(`journal: ${messageOf(error)}`));
  };
  quick.on('ready', replay);
  const replayTimer = setInterval(replay, REPLAY_MS);
  const service = createRunService({
    store: web.store,
    lifecycle: web.lifecycle,
    feed,
    delivery: (id, forge) => deliveries.get(id, forge),
    keepResults: async (from, to, jobs) => {
      await Promise.all([artifacts.inherit(from, to, jobs), logs.inherit(from, to, jobs)]);
    },
    replan: createReplan((rerunOf) =>
      createPlanner({ ...planning, lifecycle: { start: (run) => runs.lifecycle.start({ ...run, rerunOf }) } }),
    ),
  });

  const calm = createCalm();
  const onRepair: ReconcilerDeps['onRepair'] = (kind, of) => {
    metrics.count('impgem_repairs_total', { kind });
    log.warn({ ...of, repair: kind }, 'repaired');
  };
  const onStalled = (): void => onRepair('entry-taken-back');
  const serving = { redis: blocking, lockMs: LOCK_MS, onStalled, onError };
  const consumers = [
    consume<EventPayload>(
      { ...serving, name: EVENT_QUEUE, concurrency: PLANNERS },
      planFairly(
        async ({ turn }) => {
          // Not waited for: a first log line waits for all that stands before planning.
          runs.turns.serve(EVENT_QUEUE, turn).catch((error: unknown) => onError(`turns: ${messageOf(error)}`));
          await calm.wait();
        },
        async ({ event, tries }) => {
          const startedAt = performance.now();
          const again = await planner.handle(event, tries);
          metrics.observe('impgem_plan_seconds', (performance.now() - startedAt) / 1000);
          return again;
        },
      ),
    ),
    consume<StatusPayload>({ ...serving, name: STATUS_QUEUE, concurrency: POSTERS }, (payload, { attempt }) =>
      runs.statuses.deliver(payload, attempt),
    ),
  ];
  const reconciler = createReconciler({
    store: runs.store,
    lifecycle: runs.lifecycle,
    leases: runs.leases,
    queues: runs.queues,
    onClockJump: (clock, ms) => {
      metrics.count('impgem_clock_jumps_total', { clock });
      log.warn({ clock, ms: Math.round(ms) }, 'a clock was set');
    },
    onRepair,
    onError,
  });
  const missed = findMissedPushes({
    settings,
    redis: patient,
    forges,
    git,
    allowed,
    store: runs.store,
    queues: runs.queues,
    planner,
    metrics,
    log,
  });
  void feed.onEnded((run) => {
    runs.lifecycle.conclude(run).catch((error: unknown) => onError(messageOf(error)));
  });

  const app = createApp({
    runs: service,
    logs: {
      ...logs,
      append: (key, offset, bytes) => announced.append(key, offset, bytes),
      close: (key) => announced.close(key),
    },
    artifacts,
    receive: countReceipts(metrics, calm.during(createReceive({ ...intake, forges, journal, allowed }))),
    trigger: createTrigger({ planner, forges, allowed, isRefName }),
    workers: viewWorkers(web),
    ready: () => checkReady(quick, data.root),
    metrics: async () => {
      // Without Redis they are counted later.
      const repairs = await web.repairs.take().catch(() => []);
      for (const [kind, count] of repairs) metrics.count('impgem_repairs_total', { kind }, count);
      return metrics.render(await gaugesOf({ runs: web, redis: quick, journal, folder: data.root }));
    },
    ...(settings.IMPGEM_API_TOKEN === undefined ? {} : { apiToken: settings.IMPGEM_API_TOKEN }),
    ...(settings.IMPGEM_METRICS_TOKEN === undefined ? {} : { metricsToken: settings.IMPGEM_METRICS_TOKEN }),
    publicUrl: () => publicUrl ?? '',
    assets: assetsFolder(),
    log,
  });
  const deleteAfterMs = parseDuration(settings.IMPGEM_DELETE_AFTER);
  const retention = createRetention({
    store: runs.store,
    archive,
    belongings: { logs, artifacts },
    limits: { runs: settings.IMPGEM_MAX_RUNS, ...(deleteAfterMs === undefined ? {} : { ageMs: deleteAfterMs }) },
    onRemoved: (kind, run) => {
      metrics.count('impgem_removed_total', { kind });
      if (kind === 'run') log.debug({ run }, 'removed');
      else onRepair('orphan-removed', { run, mended: `${kind} of no run` });
    },
    onError,
  });
  const caches = createCacheStore(data.caches);
  void keepSweeping(
    { redis: patient, queues: runs.queues, retention, artifacts, caches, metrics, log, onError },
    stopping.signal,
  );
  const server = await startServer(app, settings.IMPGEM_LISTEN);
  publicUrl ??= server.url;
  log.info({ url: server.url, publicUrl }, 'listening');

  return {
    url: server.url,
    async close() {
      await server.close();
      reconciler.close();
      missed?.close();
      clearInterval(replayTimer);
      stopping.abort();
      await journal.close();
      // Without Redis there is nothing to wait for: what was being handled is handled again by whoever comes next.
      await atMost(CLOSE_MS, Promise.all(consumers.map((consumer) => consumer.close())));
      await logs.dispose();
      for (const redis of [patient, quick, blocking, subscriber]) redis.disconnect();
      log.info('stopped');
    },
  };
}

/** Scripts and styles of the pages, beside the bundle. */
function assetsFolder(): string {
  return join(dirname(fileURLToPath(import.meta.url)), 'web');
}

async function checkReady(redis: Redis, folder: string): Promise<{ ok: boolean; checks: Record<string, string> }> {
  // A write: one that is at its maxmemory answers a ping.
  const [write, disk] = await Promise.allSettled([redis.set('ig:ready', '1', 'PX', 1000), statfs(folder)]);
  const free = disk.status === 'fulfilled' ? disk.value.bavail * disk.value.bsize : 0;
  const checks = {
    redis: write.status === 'fulfilled' ? 'ok' : unreachable(write.reason),
    disk: free >= MIN_FREE_BYTES ? 'ok' : `only ${Math.floor(free / 1024 ** 2)} MB free`,
  };
  return { ok: Object.values(checks).every((check) => check === 'ok'), checks };
}

function unreachable(reason: unknown): string {
  if (isRedisFull(reason)) return 'takes no writes: its memory or its disk is full';
  return isRedisAway(reason) ? 'does not answer' : `unreachable: ${messageOf(reason)}`;
}
