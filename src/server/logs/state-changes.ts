import type { Job, Run } from '../../runs/run.ts';
import { presentJob, presentRun } from '../present-run.ts';

/** What a follower is told of the run: its own fields, and those jobs that changed since the last time (at first: all). */
export type StateChange = Pick<Run, 'id' | 'state' | 'reason' | 'startedAt' | 'endedAt'> & { jobs: Job[] };

/** Gives, each time, what changed since the last time; undefined when nothing did. */
export function createStateChanges(): (run: Run) => StateChange | undefined {
  const seen = new Map<string, string>();
  const changed = (key: string, value: unknown) => {
    const text = JSON.stringify(value);
    if (seen.get(key) === text) return false;
    seen.set(key, text);
    return true;
  };
  return (run) => {
    const { id, state, reason, startedAt, endedAt } = presentRun(run);
    const own = {
      id,
      state,
      ...(reason === undefined ? {} : { reason }),
      ...(startedAt === undefined ? {} : { startedAt }),
      ...(endedAt === undefined ? {} : { endedAt }),
    };
    const jobs = run.jobs.map(presentJob).filter((job) => changed(`job ${job.id}`, job));
    return changed('run', own) || jobs.length > 0 ? { ...own, jobs } : undefined;
  };
}
