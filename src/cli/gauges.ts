import { statfs } from 'node:fs/promises';
import type { Redis } from '../queue/connection.ts';
import type { Gauge } from '../server/metrics.ts';
import type { Runs } from './open-runs.ts';

export interface GaugesDeps {
  runs: Runs;
  redis: Redis;
  journal: { pending(): number };
  /** The data folder. */
  folder: string;
}

/** What /metrics says of the present moment; without Redis what can be said without it. */
export async function gaugesOf({ runs, redis, journal, folder }: GaugesDeps): Promise<Gauge[]> {
  const { bavail, bsize } = await statfs(folder);
  // Whatever is wrong with Redis is told by impgem_redis_up here, and by the log where it is in somebody's way.
  const ofRedis = await gaugesOfRedis(runs, redis).catch(() => undefined);
  return [
    one('impgem_redis_up', 'Whether Redis answers.', ofRedis ? 1 : 0),
    one('impgem_disk_free_bytes', 'Free on the disk of the data folder.', bavail * bsize),
    one('impgem_journal_pending', 'Deliveries on disk that wait for Redis.', journal.pending()),
    ...(ofRedis ?? []),
  ];
}

async function gaugesOfRedis(runs: Runs, redis: Redis): Promise<Gauge[]> {
  const [counts, workers, active, leases, [seconds, micros], info] = await Promise.all([
    runs.queues.counts(),
    runs.workers.live(),
    runs.store.active(),
    runs.leases.all(),
    redis.time(),
    redis.info('memory'),
  ]);
  const offset = Date.now() / 1000 - (Number(seconds) + Number(micros) / 1e6);
  return [
    {
      name: 'impgem_queue_depth',
      help: 'Entries of each queue by state.',
      samples: Object.entries(counts).flatMap(([queue, states]) =>
        Object.entries(states).map(([state, value]) => ({ labels: { queue, state }, value })),
      ),
    },
    one('impgem_active_runs', 'Runs that are not over.', active.length),
    {
      name: 'impgem_workers',
      help: 'Workers that live, by what they do.',
      samples: ['taking jobs', 'paused'].map((state) => ({
        labels: { state },
        value: workers.filter((worker) => (worker.paused === undefined) === (state === 'taking jobs')).length,
      })),
    },
    one('impgem_leases', 'Jobs that a worker holds.', leases.length),
    {
      name: 'impgem_redis_memory_bytes',
      help: 'Memory that Redis uses, and its maxmemory (0: none).',
      samples: ['used_memory', 'maxmemory'].map((kind) => ({
        labels: { kind },
        value: Number(new RegExp(`^${kind}:(\\d+)`, 'm').exec(info)?.[1] ?? 0),
      })),
    },
    one('impgem_clock_offset_seconds', "How far this server's clock is ahead of Redis's.", Number(offset.toFixed(3))),
  ];
}

function one(name: string, help: string, value: number): Gauge {
  return { name, help, samples: [{ labels: {}, value }] };
}
