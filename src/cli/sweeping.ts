/** Frees the disk every hour, in one server however many there are. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { ArtifactKeeper } from '../artifacts/artifact-store.ts';
import type { CacheKeeper } from '../artifacts/cache-store.ts';
import { messageOf } from '../errors.ts';
import type { Redis } from '../queue/connection.ts';
import type { Queues } from '../queue/queues.ts';
import type { Retention } from '../runs/retention.ts';
import type { Metrics } from '../server/metrics.ts';

export interface SweepingDeps {
  redis: Redis;
  queues: Pick<Queues, 'labelled'>;
  retention: Retention;
  artifacts: Pick<ArtifactKeeper, 'sweep'>;
  caches: CacheKeeper;
  metrics: Pick<Metrics, 'count'>;
  log: Logger;
  onError(message: string): void;
}

const EVERY_MS = 3_600_000;
/** A server that never lives for an hour must sweep as well, but not in its first busy moments. */
const FIRST_MS = 60_000;
const TURN = 'ig:sweep-turn';

/** Sweeps soon after the start and every hour, until the signal aborts. */
export async function keepSweeping(deps: SweepingDeps, signal: AbortSignal): Promise<void> {
  const pause = (ms: number): Promise<unknown> => sleep(ms, undefined, { signal, ref: false }).catch(() => undefined);
  const onError = (message: string): void => {
    if (!signal.aborted) deps.onError(message);
  };
  await pause(FIRST_MS);
  while (!signal.aborted) {
    await sweepOnce({ ...deps, onError }).catch((error: unknown) => onError(`sweep: ${messageOf(error)}`));
    await pause(EVERY_MS);
  }
}

/** One sweep, unless a server had it lately. A part that fails is told of, and the others free what they can. */
export async function sweepOnce(deps: SweepingDeps): Promise<void> {
  const { redis, queues, retention, artifacts, caches, metrics, log } = deps;
  if ((await redis.set(TURN, '1', 'PX', EVERY_MS / 2, 'NX')) === null) return;
  const part = (what: string, task: () => Promise<number>): Promise<number> =>
    task().catch((error: unknown) => {
      deps.onError(`sweep of ${what}: ${messageOf(error)}`);
      return 0;
    });
  await part('queues', async () => (await queues.labelled.forgetUnused()).length);
  const runs = await part('runs', () => retention.sweep());
  // After the runs: what only those that went have named goes in the same sweep.
  const freed = {
    artifacts: await part('artifacts', () => artifacts.sweep()),
    caches: await part('caches', () => caches.sweep()),
  };
  for (const [kind, bytes] of Object.entries(freed)) metrics.count('impgem_freed_bytes_total', { kind }, bytes);
  if (runs + freed.artifacts + freed.caches > 0) log.info({ runs, freed }, 'removed what is past its time');
}
