/**
 * Carries runs on: each move is one atomic write (redis-store), followed by its effects: tickets for jobs that became
 * ready, status posts for jobs that changed, the archive at the end. A crash between a write and its effects is healed
 * by `tend`, which does the effects of the present state again; all of them are idempotent.
 */
import { messageOf } from '../errors.ts';
import { type Queues, jobQueueName } from '../queue/queues.ts';
import type { Turns } from '../queue/turns.ts';
import { jobOf, specOf } from './lookups.ts';
import * as machine from './machine.ts';
import { newRecord } from './new-record.ts';
import { createGroupEffects } from './group-effects.ts';
import type { Groups } from './groups.ts';
import type { Plan } from './plan.ts';
import type { DecideIf, Rules } from './readiness.ts';
import type { RedisRunStore } from './redis-store.ts';
import { type Job, type JobControl, type RunRecord, type State, type Step, isFinal } from './run.ts';
import type { NewRun } from './store.ts';
import { kindOfWaiting } from './waits-for.ts';
import { type WorkerEntry, whyNoWorker } from './workers.ts';

export interface LifecycleDeps {
  store: RedisRunStore;
  queues: Queues;
  turns: Turns;
  groups: Groups;
  decideIf: DecideIf;
  /** How often a job may lose its worker before it ends `errored`. */
  maxLosses: number;
  liveWorkers(): Promise<WorkerEntry[]>;
  /**
   * Where finished runs outlive Redis, how many of them stay hot, and who hears, once, of each that is archived. A worker
   * has none: it tells the servers.
   */
  archive?: { write(record: RunRecord, plan: Plan): Promise<void>; keep: number; onEnd(record: RunRecord): void };
  statusContext(record: RunRecord, job: Job | undefined): string;
  /** Ids of the jobs ('' for the run itself) whose status at the forge is not what it should be. */
  dueStatuses(record: RunRecord): Promise<string[]>;
  /** Hears of what failed and will be mended by `tend`. */
  onError(message: string): void;
  now?: () => Date;
}

export interface StepNews {
  index: number;
  change: Partial<Step> & { state: State };
}

/** Something that a crash had left undone. */
export interface Mended {
  what: string;
  job?: string;
}

export interface Lifecycle {
  /** Creates the run and sets it going; the same id twice is one run. */
  start(run: NewRun): Promise<{ record: RunRecord; created: boolean }>;
  /** The same for a record that is made already (a re-run). */
  launch(record: RunRecord, plan: Plan): Promise<{ record: RunRecord; created: boolean }>;
  /** Gives the record when this ticket works, else undefined. */
  claim(run: string, job: string, fence: number, worker: string): Promise<RunRecord | undefined>;
  beginAttempt(run: string, job: string, fence: number): Promise<RunRecord | undefined>;
  /** News of steps, several in one write. False when the job is another worker's now. */
  reportSteps(run: string, job: string, fence: number, news: StepNews[]): Promise<boolean>;
  /** False when the job is another worker's now. */
  end(run: string, job: string, fence: number, news: StepNews[], outcome: machine.JobOutcome): Promise<boolean>;
  /** A worker is gone (`counts`) or hands the job over. */
  release(run: string, job: string, fence: number, why: { counts: boolean; reason: string }): Promise<boolean>;
  /** False when the run is over already; undefined for an unknown one. */
  cancel(run: string, reason: string, onlyJob?: string): Promise<boolean | undefined>;
  /** Idempotent: moves on what can move and does the effects of the present state that are missing. Gives how many. */
  tend(run: string): Promise<Mended[]>;
  /** Archives a run that is over. Idempotent. */
  conclude(run: string): Promise<void>;
}

const NO_PLAN: Plan = {
  pipeline: '',
  file: '',
  clone: { skip: false, depth: 0, submodules: false, lfs: false },
  jobs: [],
};

export function createLifecycle(deps: LifecycleDeps): Lifecycle {
  const { store, queues } = deps;
  const now = () => (deps.now?.() ?? new Date()).toISOString();

  const planOf = async (id: string): Promise<Plan> => (await store.plan(id)) ?? NO_PLAN;
  const { decideIf, maxLosses } = deps;
  const rulesFor = async (id: string): Promise<Rules> => ({ plan: await planOf(id), decideIf, maxLosses });

  /** `previous` undefined: everything counts as changed. */
  const effects = async (plan: Plan, previous: RunRecord | undefined, next: RunRecord): Promise<void> => {
    const work: Promise<unknown>[] = [];
    for (const job of next.jobs) {
      const before = previous && jobOf(previous, job.id);
      if (job.state === 'pending' && isNewlyReady(previous, next, job.id)) work.push(addTicket(next, job, plan));
      if (gaveUpTurn(previous, next, job)) work.push(takeTicketBack(previous, job, plan));
      const isTold = before?.state === job.state && before.reason === job.reason;
      if (!isTold || (job.waitingFor !== before.waitingFor && kindOfWaiting(job.waitingFor) !== undefined))
        work.push(queues.addStatus(deps.statusContext(next, job), { run: next.id, job: job.id }));
    }
    if (next.jobs.length === 0 && previous?.state !== next.state)
      work.push(queues.addStatus(deps.statusContext(next, undefined), { run: next.id, job: '' }));
    await Promise.all(work);
    await groupEffects.follow(previous, next, plan);
    if (isFinal(next.state)) await conclude(next, plan);
  };

  const addTicket = async (record: RunRecord, job: Job, plan: Plan): Promise<void> => {
    const control = record.control[job.id];
    if (!control) return;
    const labels = specOf(plan, job.id)?.runsOn ?? [];
    const turn = isNext(record, control) ? 1 : await deps.turns.take(jobQueueName(labels), record.repository);
    const delayMs =
      control.notBefore === undefined ? 0 : Math.max(0, Date.parse(control.notBefore) - Date.parse(now()));
    await queues.addTicket({ run: record.id, job: job.id, fence: control.fence, turn }, { labels, delayMs });
  };

  /** In a queue of labels that no worker has, it would stay for ever. */
  const takeTicketBack = async (record: RunRecord, job: Job, plan: Plan): Promise<void> => {
    const labels = specOf(plan, job.id)?.runsOn ?? [];
    const control = record.control[job.id];
    if (!control) return;
    if (!isNext(record, control)) await deps.turns.giveBack(jobQueueName(labels), record.repository);
    await queues.removeTicket({ run: record.id, job: job.id, fence: control.fence }, labels);
  };

  /** Does what a crash left undone for the present state. */
  const redoEffects = async (record: RunRecord): Promise<Mended[]> => {
    const plan = await planOf(record.id);
    const mended: Mended[] = [];
    // Joining and leaving again is harmless, and mends a line whose first has died.
    await groupEffects.follow(undefined, record, plan);
    for (const job of record.jobs) {
      const control = record.control[job.id];
      if (job.state !== 'pending' || control?.readyAt === undefined) continue;
      const labels = specOf(plan, job.id)?.runsOn ?? [];
      if (await queues.hasTicket({ run: record.id, job: job.id, fence: control.fence }, labels)) continue;
      await addTicket(record, job, plan);
      mended.push({ what: 'its ticket was not queued', job: job.id });
    }
    for (const job of await deps.dueStatuses(record)) {
      const line = deps.statusContext(record, jobOf(record, job));
      // Most are only on their way, to a forge that is slow or away.
      if (await queues.hasStatus(line)) continue;
      await queues.addStatus(line, { run: record.id, job });
      mended.push({ what: 'its status was not queued', ...(job === '' ? {} : { job }) });
    }
    if (isFinal(record.state) && (await conclude(record, plan))) mended.push({ what: 'its end was not told' });
    return mended;
  };

  /** True: nobody had done it before. */
  const conclude = async (record: RunRecord, plan: Plan): Promise<boolean> => {
    if (!deps.archive) {
      await store.announceEnd(record.id);
      return false;
    }
    await deps.archive.write(record, plan);
    const isFirst = await store.settle(record.id, deps.archive.keep);
    if (isFirst) deps.archive.onEnd(record);
    return isFirst;
  };

  /** One move and its effects; the record as it is now, or undefined when the move was not allowed. */
  const move = async (
    id: string,
    change: (record: RunRecord, rules: Rules, at: string) => RunRecord,
  ): Promise<RunRecord | undefined> => {
    const rules = await rulesFor(id);
    const done = await store.update(id, (record) => change(record, rules, now()));
    if (!done || done.next === done.previous) return undefined;
    await effects(rules.plan, done.previous, done.next);
    return done.next;
  };

  const cancel = async (run: string, reason: string, onlyJob?: string): Promise<boolean> => {
    const next = await move(run, (record, rules, at) => machine.requestCancel(record, rules, reason, at, onlyJob));
    // Also when the run is over now: a job that was lost and waited for the next worker may have left what still runs.
    if (next?.startedAt !== undefined) await store.announceCancel(run);
    return next !== undefined;
  };

  const groupEffects = createGroupEffects({
    groups: deps.groups,
    get: (id) => store.get(id),
    grant: async ({ run, job }) => {
      await move(run, (record, rules, at) => machine.grantGroup(record, rules, job, at));
    },
    cancel: async ({ run, job }, reason) => {
      await cancel(run, reason, job === '' ? undefined : job);
    },
  });

  const launch = async (first: RunRecord, plan: Plan): Promise<{ record: RunRecord; created: boolean }> => {
    const record = machine.advance(first, { plan, decideIf, maxLosses }, now());
    const stored = await store.create(record, plan);
    // One that is over already is tended until its end was seen through, and then nothing of it may change any more.
    if (!stored.created && isFinal(stored.record.state)) return stored;
    // Also for a run that exists: whoever made it may have died before its effects.
    await effects(plan, undefined, stored.record);
    return stored;
  };

  return {
    start: (run) => launch(newRecord(run), run.plan),
    launch,
    async claim(run, job, fence, worker) {
      const { plan } = await rulesFor(run);
      const done = await store.update(run, (record) => machine.claim(record, job, fence, worker, now()));
      if (!done || done.next === done.previous) return undefined;
      // The job's first line does not wait for a status to be queued; the reconciler finds one that was not.
      effects(plan, done.previous, done.next).catch((error: unknown) => {
        deps.onError(`effects of the claim of ${run}/${job}: ${messageOf(error)}`);
      });
      return done.next;
    },
    beginAttempt: (run, job, fence) =>
      move(run, (record, rules) => {
        const spec = specOf(rules.plan, job);
        return spec ? machine.beginAttempt(record, spec, fence) : record;
      }),
    async reportSteps(run, job, fence, news) {
      const rules = await rulesFor(run);
      const done = await store.update(run, (record) => tell(record, job, fence, news));
      if (!done || !machine.holds(done.next, job, fence)) return false;
      if (done.next !== done.previous) await effects(rules.plan, done.previous, done.next);
      return true;
    },
    async end(run, job, fence, news, outcome) {
      return (
        (await move(run, (record, rules, at) =>
          machine.endJob(tell(record, job, fence, news), rules, job, fence, outcome, at),
        )) !== undefined
      );
    },
    async release(run, job, fence, why) {
      return (
        (await move(run, (record, rules, at) => machine.releaseJob(record, rules, job, fence, why, at))) !== undefined
      );
    },
    async cancel(run, reason, onlyJob) {
      return (await store.get(run)) && cancel(run, reason, onlyJob);
    },
    async conclude(id) {
      const record = await store.get(id);
      if (record && isFinal(record.state)) await conclude(record, await planOf(id));
    },
    async tend(id) {
      const moved = await move(id, (record, rules, at) => machine.advance(record, rules, at));
      const record = moved ?? (await store.get(id));
      if (!record) {
        await store.forget(id);
        return [{ what: 'it was listed, though there is no such run' }];
      }
      const mended = await redoEffects(record);
      if (moved) mended.push({ what: 'its next jobs had not begun to wait' });
      if (record.jobs.some((job) => job.state === 'pending' && record.control[job.id]?.readyAt !== undefined)) {
        const workers = await deps.liveWorkers();
        const whyNot = (labels: readonly string[]): string | undefined => whyNoWorker(workers, labels);
        await move(id, (present, rules, at) => machine.explainWaiting(present, rules, whyNot, at));
      }
      return mended;
    },
  };
}

function tell(record: RunRecord, job: string, fence: number, news: StepNews[]): RunRecord {
  return news.reduce((next, { index, change }) => machine.reportStep(next, job, fence, index, change), record);
}

/**
 * Before the repositories' turns: what a person waits for, and jobs that had their turn. The steps of one that was handed
 * over or lost may go on all the while, unseen, until somebody carries it on.
 */
function isNext(record: RunRecord, control: JobControl): boolean {
  const isAsked = record.event === 'manual' || record.event === 'api' || record.rerunOf !== undefined;
  return isAsked || control.fence > 0;
}

/** Whether a job that waited for its turn ended without it. */
function gaveUpTurn(previous: RunRecord | undefined, next: RunRecord, job: Job): previous is RunRecord {
  const control = previous?.control[job.id];
  const waited = previous && jobOf(previous, job.id)?.state === 'pending' && control?.readyAt !== undefined;
  return waited === true && isFinal(job.state);
}

function isNewlyReady(previous: RunRecord | undefined, next: RunRecord, id: string): boolean {
  const control = next.control[id];
  if (control?.readyAt === undefined) return false;
  const before = previous?.control[id];
  return before?.readyAt === undefined || before.fence !== control.fence;
}
