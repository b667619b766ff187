import type { Gauge } from '../server/metrics.ts';
import type { Runs } from './open-runs.ts';

/** What /metrics says of the present moment. */
export async function gaugesOf(runs: Runs, journal: { pending(): number }): Promise<Gauge[]> {
  const [counts, workers] = await Promise.all([runs.queues.counts(), runs.workers.live()]);
  const samples = Object.entries(counts).flatMap(([queue, states]) =>
    Object.entries(states).map(([state, value]) => ({ labels: { queue, state }, value })),
  );
  return [
    { name: 'impgem_queue_depth', help: 'Entries of each queue by state.', samples },
    {
      name: 'impgem_journal_pending',
      help: 'Deliveries on disk that wait for Redis.',
      samples: [{ labels: {}, value: journal.pending() }],
    },
    {
      name: 'impgem_active_runs',
      help: 'Runs that are not over.',
      samples: [{ labels: {}, value: (await runs.store.active()).length }],
    },
    {
      name: 'impgem_workers',
      help: 'Workers that live, by what they do.',
      samples: ['taking jobs', 'paused'].map((state) => ({
        labels: { state },
        value: workers.filter((worker) => (worker.paused === undefined) === (state === 'taking jobs')).length,
      })),
    },
    {
      name: 'impgem_leases',
      help: 'Jobs that a worker holds.',
      samples: [{ labels: {}, value: (await runs.leases.all()).length }],
    },
  ];
}
