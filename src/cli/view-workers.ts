import type { AppDeps } from '../server/app-deps.ts';
import type { Runs } from './open-runs.ts';

/** The workers as the API shows them. */
export function viewWorkers({ workers, leases }: Pick<Runs, 'workers' | 'leases'>): AppDeps['workers'] {
  return {
    async list() {
      const [live, held] = await Promise.all([workers.live(), leases.all()]);
      return live
        .map(({ name, labels, paused }) => ({
          name,
          labels,
          ...(paused === undefined ? {} : { paused }),
          jobs: held.filter(({ worker }) => worker === name).map(({ run, job }) => ({ run, job })),
        }))
        .sort((a, b) => (a.name < b.name ? -1 : 1));
    },
    async setDrained(name, drained) {
      const exists = (await workers.live()).some((worker) => worker.name === name);
      // One that was killed is still drained for whoever starts under its name.
      if (!exists && drained) return false;
      return (await workers.setDrained(name, drained)) || exists;
    },
  };
}
