/** Builds a worker from its settings: claims tickets, runs jobs, keeps its leases. */
import { hostname } from 'node:os';
import { mkdir } from 'node:fs/promises';
import { createCacheStore } from '../artifacts/cache-store.ts';
import type { Settings } from '../config/schema.ts';
import { parseDuration, parseSize } from '../config/units.ts';
import { messageOf } from '../errors.ts';
import { createForges } from '../forges/forges.ts';
import { createFeed } from '../queue/feed.ts';
import { type TicketPayload, consume } from '../queue/queues.ts';
import { parseRepository } from '../runs/event.ts';
import { announceLogs } from '../runs/announce-logs.ts';
import { createArchive } from '../runs/archive.ts';
import { createJobSource } from '../runs/job-source.ts';
import { LEASE_MS } from '../runs/leases.ts';
import type { Job, RunRecord } from '../runs/run.ts';
import { jobTimeout } from '../worker/begin-job.ts';
import { createJobRunner } from '../worker/job-runner.ts';
import type { Assignment, HeldJob } from '../worker/ports.ts';
import { work } from '../worker/work.ts';
import { atMost } from './at-most.ts';
import { clearRemains } from './clear-remains.ts';
import { chooseExecutor } from './choose-executor.ts';
import { dataFolder } from './data-folder.ts';
import { jobDefaults } from './job-defaults.ts';
import { createJobConsumers } from './job-consumers.ts';
import { openJobStores } from './job-stores.ts';
import { createLogger } from './logger.ts';
import { openGit } from './open-git.ts';
import { openRedis, openRuns, sayOnce } from './open-runs.ts';
import { createPresence } from './presence.ts';
import { createWorkspaces } from './workspaces.ts';

export interface WorkerProcess {
  /** Takes nothing new, lets short jobs finish, hands the others over. */
  close(): Promise<void>;
}

const BEAT_MS = LEASE_MS / 5;
const CLEAR_MS = 60_000;
/**
 * For all that a worker does when it stops, once jobs had their time to end: it says that it leaves, hands its jobs back, and
 * removes what no job needs any more. A service manager waits for it, and the next worker finds what is left.
 */
const STOP_MS = 1500;
/** Of that, for what needs Redis when that is away: jobs need not be handed back then, their leases run out. */
const LEAVE_MS = 500;

export async function runWorker(settings: Settings): Promise<WorkerProcess> {
  const log = createLogger('worker', settings);
  const data = dataFolder(settings);
  await mkdir(data.work, { recursive: true, mode: 0o700 });
  const name = settings.IMPGEM_WORKER_NAME ?? hostname();
  const labels = (settings.IMPGEM_WORKER_LABELS ?? '')
    .split(',')
    .map((label) => label.trim())
    .filter((label) => label !== '');

  const patient = openRedis(settings, 'patient', log);
  const blocking = openRedis(settings, 'patient', log);
  const subscriber = openRedis(settings, 'patient', log);
  const onError = sayOnce(log);

  const forges = createForges(settings);
  const pageOf = (run: string): string => `${settings.IMPGEM_PUBLIC_URL ?? ''}/runs/${run}`;
  const runs = openRuns({ redis: patient, archive: createArchive(data.runs), forges, settings, pageOf, log });
  const feed = createFeed(subscriber);
  const executor = await chooseExecutor(settings, {
    onProblem: (error) => onError(`docker: ${messageOf(error)}`),
    onChoice: (sentence) => log.info(sentence),
  });
  log.info({ executor: await executor.describe(), name, labels }, 'worker ready');

  const defaults = jobDefaults(settings);
  const storesOf = await openJobStores(settings, data);
  const caches = createCacheStore(data.caches);
  const workspaces = createWorkspaces(openGit(settings, data.mirrors), forges);

  const source = createJobSource({
    worker: name,
    store: runs.store,
    lifecycle: runs.lifecycle,
    leases: runs.leases,
    turns: runs.turns,
    links: (record) => linksOf(record, pageOf),
    onError,
  });
  const linksOf = (record: RunRecord, page: (run: string) => string): Assignment['links'] => {
    const repository = parseRepository(record.repository);
    const forge = repository && forges.get(repository.forge);
    if (!repository || !forge) return { run: page(record.id) };
    return {
      run: page(record.id),
      forge: settings[repository.forge === 'github' ? 'IMPGEM_GITHUB_URL' : 'IMPGEM_GITEA_URL'] ?? '',
      repository: forge.page(repository.owner, repository.name),
      clone: forge.clone(repository.owner, repository.name).url,
    };
  };

  const detach = new AbortController();
  const running = new Set<Promise<void>>();
  const cleanings = new Set<Promise<void>>();
  const track = async (held: HeldJob): Promise<void> => {
    const stores = storesOf(held, detach.signal, jobTimeout(held.assignment, defaults));
    const runner = createJobRunner({
      executor,
      ports: {
        logs: announceLogs(stores.logs, (message) => runs.store.notify(message)),
        report: held.report,
        artifacts: stores.artifacts,
        caches,
        workspaces,
        secrets: { get: () => Promise.resolve(new Map()) },
      },
      folder: data.work,
      defaults,
    });
    const done = work(held, { runner, detach: detach.signal, onExecutorLost: () => presence.beat(), log });
    running.add(done);
    await done.finally(() => {
      running.delete(done);
      stores.release();
    });
    // Not waited for: the next job's slot must not pay for this one's removal.
    const cleaning = runner.idle().catch((error: unknown) => onError(`clean-up after a job: ${messageOf(error)}`));
    cleanings.add(cleaning);
    void cleaning.finally(() => cleanings.delete(cleaning));
  };

  const consumers = createJobConsumers({
    labels,
    limit: settings.IMPGEM_CONCURRENCY,
    all: () => runs.queues.labelled.all(),
    consume: (queue, handle) =>
      consume<TicketPayload>(
        { name: queue, redis: blocking, concurrency: settings.IMPGEM_CONCURRENCY, lockMs: LEASE_MS, onError },
        handle,
      ),
    hasRoom: () => presence.hasRoom(),
    async take(ticket) {
      const held = await source.claim(ticket);
      if (held) await track(held);
    },
    onError,
  });
  const presence = createPresence({
    workers: runs.workers,
    name,
    labels,
    folder: data.work,
    minFreeBytes: parseSize(settings.IMPGEM_MIN_FREE_DISK) ?? 0,
    trouble: async () => executor.trouble?.(),
    onPause: (why) => {
      if (why === undefined) log.info('takes jobs again');
      else log.warn(`takes no job: ${why}`);
      (why === undefined ? consumers.resume() : consumers.pause()).catch((error: unknown) => onError(messageOf(error)));
    },
  });
  if (await presence.hasDouble())
    log.warn({ name }, 'a worker of this name lives already: give each its own IMPGEM_WORKER_NAME');
  else {
    await releasePredecessor();
    // It was told to drain, not we. After a kill it could not say that it left.
    await runs.workers.setDrained(name, false);
  }
  const clearOnce = async (): Promise<void> => {
    const count = await clearRemains(executor, runs.store, data.work);
    if (count === 0) return;
    log.warn({ count, repair: 'remains-removed' }, 'removed what dead workers left');
    await runs.repairs.tell('remains-removed', count);
  };
  let clearing: Promise<void> | undefined;
  let isWanted = false;
  /** What comes while one is under way is seen to by one more. */
  const clear = (): void => {
    isWanted = true;
    clearing ??= (async () => {
      while (isWanted) {
        isWanted = false;
        await clearOnce();
      }
    })()
      .catch((error: unknown) => onError(`clearing remains: ${messageOf(error)}`))
      .finally(() => (clearing = undefined));
  };
  const clearTimer = setInterval(clear, CLEAR_MS);
  clear();
  /** A job that was cancelled while it waited for another worker may have left what still runs. */
  const clearLost = async (run: string): Promise<void> => {
    const record = await runs.store.get(run);
    const isLost = (job: Job): boolean =>
      job.state === 'cancelled' && record?.control[job.id]?.lossReason !== undefined;
    if (record?.jobs.some(isLost)) clear();
  };
  await feed.onCancel((run) => {
    for (const heard of [source.check(run), clearLost(run)]) heard.catch((error: unknown) => onError(messageOf(error)));
  });
  // Whether there is room comes before the first job.
  await presence.beat();
  if (labels.length > 0) await feed.onLabelQueue((queue) => consumers.serve(queue));
  await consumers.follow();
  const following = setInterval(
    () => void consumers.follow().catch((error: unknown) => onError(messageOf(error))),
    CLEAR_MS,
  );
  const beat = setInterval(() => {
    // The leases alone: presence must not keep them waiting.
    for (const one of [source, presence]) one.beat().catch((error: unknown) => onError(messageOf(error)));
  }, BEAT_MS);

  /** Jobs of a worker of our name are of our dead predecessor: they need not wait for their lease to run out. */
  async function releasePredecessor(): Promise<void> {
    for (const lease of await runs.leases.ofWorker(name)) {
      const reason = `worker ${name} was restarted`;
      const released = await runs.lifecycle.release(lease.run, lease.job, lease.fence, { counts: true, reason });
      if (released) {
        log.warn({ run: lease.run, job: lease.job, repair: 'job-released' }, 'repaired');
        await runs.repairs.tell('job-released', 1);
      }
      await runs.leases.drop(lease);
    }
  }

  return {
    async close() {
      clearInterval(following);
      await consumers.pause();
      const drained = Promise.allSettled(running);
      const grace = executor.adopts ? 0 : (parseDuration(settings.IMPGEM_DRAIN_TIMEOUT) ?? 10_000);
      const leaving = presence.leave().catch((error: unknown) => onError(messageOf(error)));
      await atMost(grace, drained);
      detach.abort('worker is told to stop');
      clearInterval(beat);
      clearInterval(clearTimer);
      const closing = async (): Promise<void> => {
        const ms = patient.status === 'ready' ? STOP_MS : LEAVE_MS;
        await atMost(ms, Promise.all([leaving, drained]));
        await atMost(LEAVE_MS, consumers.close());
        await Promise.all(cleanings);
        await executor.close();
      };
      await atMost(STOP_MS, closing());
      for (const redis of [patient, blocking, subscriber]) redis.disconnect();
      log.info('stopped');
    },
  };
}
