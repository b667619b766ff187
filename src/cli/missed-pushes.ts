import type { Logger } from 'pino';
import type { Settings } from '../config/schema.ts';
import { parseDuration } from '../config/units.ts';
import type { Forge } from '../forges/forge.ts';
import type { Git } from '../git/git.ts';
import { type CatchUp, createCatchUp } from '../intake/catch-up.ts';
import { createDeliveries } from '../intake/deliveries.ts';
import { createIsLeft } from '../intake/left-deliveries.ts';
import type { Planner } from '../intake/planner.ts';
import { createPushes } from '../intake/pushes.ts';
import { createRedelivery } from '../intake/redelivery.ts';
import type { Redis } from '../queue/connection.ts';
import type { Queues } from '../queue/queues.ts';
import type { ForgeName } from '../runs/event.ts';
import type { RedisRunStore } from '../runs/redis-store.ts';
import type { Metrics } from '../server/metrics.ts';

interface MissedPushesDeps {
  settings: Settings;
  redis: Redis;
  forges: Map<ForgeName, Forge>;
  git: Git;
  allowed: (repository: string) => boolean;
  store: RedisRunStore;
  queues: Queues;
  planner: Planner;
  metrics: Metrics;
  log: Logger;
}

/** Looks for pushes that we were not told of, unless that is switched off. */
export function findMissedPushes(deps: MissedPushesDeps): CatchUp | undefined {
  const { settings, redis, forges, store, metrics, log } = deps;
  const everyMs = parseDuration(settings.IMPGEM_CATCH_UP);
  if (everyMs === undefined) return undefined;
  const deliveries = createDeliveries(redis);
  const isLeft = createIsLeft(deliveries, deps.queues);
  return createCatchUp({
    redis,
    forges,
    git: deps.git,
    allowed: deps.allowed,
    repositories: () => store.repositories(),
    pushes: createPushes(redis),
    isLeft,
    hasRun: async (repository, branch, sha) =>
      (await store.list({ repository, branch, sha, limit: 1 })).runs.length > 0,
    lastPush: async (repository, branch) =>
      (await store.list({ repository, branch, limit: 20 })).runs.find(({ event }) => event === 'push')?.sha,
    planner: deps.planner,
    onFound: () => metrics.count('impgem_catch_up_total'),
    redeliver: createRedelivery({
      redis,
      forges,
      deliveries,
      isLeft,
      publicUrl: settings.IMPGEM_PUBLIC_URL,
      onSent: (forge) => metrics.count('impgem_redelivered_total', { forge }),
      log,
    }),
    everyMs,
    log,
  });
}
