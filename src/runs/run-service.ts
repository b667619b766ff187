/** Runs as the HTTP side sees them: read, follow, cancel, run again. */
import { InputError } from '../errors.ts';
import type { Feed } from '../queue/feed.ts';
import type { Lifecycle } from './lifecycle.ts';
import { specOf } from './lookups.ts';
import type { RedisRunStore } from './redis-store.ts';
import { rerunOf } from './rerun.ts';
import type { RunRecord } from './run.ts';
import type { RunStore } from './store.ts';

export interface RunServiceDeps {
  store: RedisRunStore;
  lifecycle: Lifecycle;
  feed: Feed;
  delivery: RunStore['delivery'];
  /** Takes logs and artifacts of kept jobs over into the new run, which does not need the old one any more then. */
  keepResults(from: string, to: string, jobs: string[]): Promise<void>;
  /** Plans the run's event anew, for one that never had a plan. */
  replan(record: RunRecord): Promise<RunRecord[]>;
}

export function createRunService(deps: RunServiceDeps): RunStore {
  const { store, lifecycle } = deps;
  return {
    get: (id) => store.get(id),
    plan: (id) => store.plan(id),
    list: (filter) => store.list(filter),
    delivery: (id, forge) => deps.delivery(id, forge),
    async jobSpec(id, job) {
      const plan = await store.plan(id);
      return plan && specOf(plan, job);
    },
    async cancel(id, reason) {
      const done = await lifecycle.cancel(id, reason);
      if (done === undefined) throw unknown(id);
      return done;
    },
    async rerun(id, options) {
      if (!(await store.hold(id))) throw unknown(id);
      const [old, plan] = await Promise.all([store.get(id), store.plan(id)]);
      if (!old || !plan) throw unknown(id);
      if (plan.jobs.length === 0) {
        const [first] = await deps.replan(old);
        if (!first) throw new InputError('nothing-to-run', `Run ${id} has nothing to run again`, { status: 422 });
        return first;
      }
      const { record, kept } = rerunOf(old, plan, options, new Date().toISOString());
      if (kept.length > 0) await deps.keepResults(old.id, record.id, kept);
      return (await lifecycle.launch(record, plan)).record;
    },
    subscribe: (run, listener, signal) => deps.feed.subscribe(run, listener, signal),
  };
}

const unknown = (id: string): InputError => new InputError('run-unknown', `There is no run "${id}"`, { status: 404 });
