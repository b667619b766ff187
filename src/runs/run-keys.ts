import type { RunFilter } from './store.ts';
import type { RunRecord, State } from './run.ts';

/** Redis keys of runs. A run is one hash: `v`, `head`, `number`, and `j:<id>` a job; its plan never changes and stands beside it. */
export const runKey = (id: string): string => `ig:run:${id}`;
export const planKey = (id: string): string => `ig:plan:${id}`;
export const numberKey = (repository: string): string => `ig:number:${repository}`;
/** Runs that still need something from us: not final, or final with effects not yet seen through. */
export const ACTIVE_KEY = 'ig:active';
/** Every repository that ever had a run. */
export const REPOSITORIES_KEY = 'ig:repositories';
/** Finished runs that are still hot, by end time, for the move to the archive. */
export const FINISHED_KEY = 'ig:finished';

/** Set for a while by whoever makes a re-run of the run (`rerun`) or removes it (`removed`): never both at once. */
export const holdKey = (id: string): string => `ig:hold:${id}`;
/** The index of all runs. */
export const ALL_KEY = 'ig:ix:all';

const index = (...parts: string[]): string => `ig:ix:${parts.join(':')}`;

type Indexed = Pick<RunRecord, 'repository' | 'branch' | 'sha'>;

/**
 * Every index that a run stands in: by sha, and by each combination of repository, branch and state, so that no list
 * reads runs that it does not show. Those of a sha are few.
 */
function indexesOf({ repository, branch }: Pick<RunFilter, 'repository' | 'branch'>, state?: State): string[] {
  const places = [
    [],
    ['repository', repository],
    ...(branch === undefined
      ? []
      : [
          ['branch', branch],
          ['repository', repository, 'branch', branch],
        ]),
  ] as string[][];
  return places.map((parts) => (state === undefined ? index('all', ...parts) : index('state', state, ...parts)));
}

/** Indexes that hold the run in any state. */
export function steadyIndexes(run: Indexed): string[] {
  return [index('sha', run.sha), ...indexesOf(run)];
}

/** Indexes that hold the run only while it is in this state. */
export function stateIndexes(run: Indexed, state: State): string[] {
  return indexesOf(run, state);
}

/** The index for a filter; what it does not decide (beside a sha) is checked on each run. */
export function indexFor({ repository, branch, sha, state }: Omit<RunFilter, 'limit'>): string {
  if (sha !== undefined) return index('sha', sha);
  const parts = [
    ...(repository === undefined ? [] : ['repository', repository]),
    ...(branch === undefined ? [] : ['branch', branch]),
  ];
  return state === undefined ? index('all', ...parts) : index('state', state, ...parts);
}

export function matches(
  run: Pick<RunRecord, 'repository' | 'branch' | 'sha' | 'state'>,
  filter: Omit<RunFilter, 'limit'>,
): boolean {
  return (
    (filter.repository === undefined || run.repository === filter.repository) &&
    (filter.branch === undefined || run.branch === filter.branch) &&
    (filter.sha === undefined || run.sha === filter.sha) &&
    (filter.state === undefined || run.state === filter.state)
  );
}

/** The record as fields of its hash. `number` is the store's. */
export function fieldsOf(record: RunRecord): Record<string, string> {
  const { jobs, control, number: _, version, ...head } = record;
  const fields: Record<string, string> = {
    v: String(version),
    head: JSON.stringify({ ...head, order: jobs.map((job) => job.id) }),
  };
  for (const job of jobs) fields[`j:${job.id}`] = JSON.stringify({ job, control: control[job.id] });
  return fields;
}

/** Only what differs, by identity of head and jobs: a small transition writes little, however large the run. */
export function changedFields(previous: RunRecord, next: RunRecord): Record<string, string> {
  const all = fieldsOf(next);
  const before = new Map(previous.jobs.map((job) => [job.id, job]));
  for (const job of next.jobs)
    if (before.get(job.id) === job && previous.control[job.id] === next.control[job.id])
      Reflect.deleteProperty(all, `j:${job.id}`);
  return all;
}

export function recordFrom(fields: Record<string, string>): RunRecord | undefined {
  if (fields['head'] === undefined) return undefined;
  const { order, ...head } = JSON.parse(fields['head']) as Omit<
    RunRecord,
    'jobs' | 'control' | 'version' | 'number'
  > & { order: string[] };
  const stored = order.map(
    (id) =>
      JSON.parse(fields[`j:${id}`] ?? '{}') as {
        job: RunRecord['jobs'][number];
        control: RunRecord['control'][string];
      },
  );
  return {
    ...head,
    number: Number(fields['number']),
    version: Number(fields['v']),
    jobs: stored.map((one) => one.job),
    control: Object.fromEntries(stored.map((one) => [one.job.id, one.control])),
  };
}
