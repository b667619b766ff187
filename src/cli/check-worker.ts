/** `impgem worker --check`, for health checks: whether the worker of this name lives on this machine, as Redis knows it. */
import { hostname } from 'node:os';
import type { Settings } from '../config/schema.ts';
import { InfrastructureError } from '../errors.ts';
import { LEASE_MS } from '../runs/leases.ts';
import { createWorkers } from '../runs/workers.ts';
import { atMost } from './at-most.ts';
import { createLogger } from './logger.ts';
import { openRedis } from './open-runs.ts';

const PATIENCE_MS = 5000;

/** One line about it. InfrastructureError `worker-silent` when its last beat is older than a lease, `redis-away`. */
export async function checkWorker(settings: Settings): Promise<string> {
  const name = settings.IMPGEM_WORKER_NAME ?? hostname();
  const redis = openRedis(settings, 'patient', createLogger('worker', settings));
  try {
    const live = await atMost(PATIENCE_MS, createWorkers(redis).live());
    if (!live) throw new InfrastructureError('redis-away', `Redis did not answer for ${PATIENCE_MS / 1000} s`);
    const self = live.find((worker) => worker.name === name && worker.host === hostname());
    if (!self)
      throw new InfrastructureError(
        'worker-silent',
        `Nothing was heard of worker ${name} of this machine for ${LEASE_MS / 1000} s`,
      );
    return `worker ${name} lives${self.paused === undefined ? '' : `, and takes no job: ${self.paused}`}`;
  } finally {
    redis.disconnect();
  }
}
