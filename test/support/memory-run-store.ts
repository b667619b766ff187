/** An honest run store in memory: for tests of what reads runs, where a Redis would only be in the way. */
import { randomUUID } from 'node:crypto';
import { InputError } from '../../src/errors.ts';
import type { JobSpec } from '../../src/runs/plan.ts';
import { type Delivery, isFinal, type Job, type Run, type RunRecord } from '../../src/runs/run.ts';
import type { FeedMessage, RunStore } from '../../src/runs/store.ts';

export interface MemoryRunStore extends RunStore {
  put(run: RunRecord): void;
  putDelivery(delivery: Delivery): void;
  /** Changes a run in place and tells everyone who listens. */
  change(id: string, change: (run: RunRecord) => void): void;
  announce(message: FeedMessage): void;
  listeners(run: string): number;
}

export function createMemoryRunStore(): MemoryRunStore {
  const runs = new Map<string, RunRecord>();
  const deliveries = new Map<string, Delivery>();
  const feeds = new Map<string, Set<(message: FeedMessage) => void>>();
  const known = (id: string): RunRecord => {
    const run = runs.get(id);
    if (!run) throw new InputError('run-unknown', `There is no run ${id}.`, { status: 404 });
    return run;
  };
  const announce = (message: FeedMessage) => {
    for (const listener of feeds.get(message.run) ?? []) listener(message);
  };
  const change = (id: string, edit: (run: RunRecord) => void) => {
    const run = known(id);
    edit(run);
    run.version++;
    announce({ kind: 'run', run: id });
  };
  return {
    put: (run) => runs.set(run.id, run),
    putDelivery: (delivery) => deliveries.set(`${delivery.forge} ${delivery.id}`, delivery),
    change,
    announce,
    listeners: (run) => feeds.get(run)?.size ?? 0,
    get: (id) => Promise.resolve(structuredClone(runs.get(id))),
    plan: () => Promise.resolve(undefined),
    jobSpec: () => Promise.resolve<JobSpec | undefined>(undefined),
    list(filter) {
      if (filter.cursor !== undefined && !/^c\d+$/.test(filter.cursor))
        return Promise.reject(new InputError('cursor-invalid', 'This cursor is not one that this server gave.'));
      const start = Number(filter.cursor?.slice(1) ?? 0);
      const found = [...runs.values()]
        .reverse()
        .filter((run) => filter.repository === undefined || run.repository === filter.repository)
        .filter((run) => filter.branch === undefined || run.branch === filter.branch)
        .filter((run) => filter.sha === undefined || run.sha === filter.sha)
        .filter((run) => filter.state === undefined || run.state === filter.state);
      const end = start + filter.limit;
      const page: Run[] = structuredClone(found.slice(start, end));
      return Promise.resolve(end < found.length ? { runs: page, next: `c${end}` } : { runs: page });
    },
    delivery: (id, forge) =>
      Promise.resolve(
        structuredClone(
          [...deliveries.values()].find((each) => each.id === id && (forge ?? each.forge) === each.forge),
        ),
      ),
    cancel(id, reason) {
      return Promise.resolve().then(() => {
        if (isFinal(known(id).state)) return false;
        change(id, (run) => {
          const endedAt = new Date().toISOString();
          for (const job of run.jobs)
            if (!isFinal(job.state)) Object.assign(job, { state: 'cancelled', reason, endedAt });
          Object.assign(run, { state: 'cancelled', reason, endedAt });
        });
        return true;
      });
    },
    rerun(id) {
      return Promise.resolve().then(() => {
        const old = known(id);
        const run: RunRecord = { ...structuredClone(old), id: randomUUID(), number: old.number + 1, rerunOf: id };
        Object.assign(run, { state: 'pending', createdAt: new Date().toISOString() });
        delete run.reason;
        delete run.endedAt;
        run.jobs = run.jobs.map((job): Job => {
          const steps = job.steps.map((step) => ({ name: step.name, state: 'pending' as const }));
          return { id: job.id, name: job.name, needs: job.needs, state: 'pending', attempt: 1, steps };
        });
        runs.set(run.id, run);
        return structuredClone(run);
      });
    },
    subscribe(run, listener, signal) {
      const listeners = feeds.get(run) ?? new Set();
      feeds.set(run, listeners.add(listener));
      signal.addEventListener('abort', () => listeners.delete(listener));
      if (signal.aborted) listeners.delete(listener);
      return Promise.resolve();
    },
  };
}
