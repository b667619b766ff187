/** What concurrency groups ask for after a move: join, supersede, leave, and grant to whoever stands first. */
import type { Concurrency, Plan } from './plan.ts';
import { type Groups, type Member, isSame } from './groups.ts';
import { jobOf, specOf } from './lookups.ts';
import { type RunRecord, isFinal } from './run.ts';
import { timeOfRunId } from './run-id.ts';

export interface GroupEffectsDeps {
  groups: Groups;
  get: (run: string) => Promise<RunRecord | undefined>;
  /** Tells the run that the line has come to it (or its job). */
  grant: (member: Member) => Promise<void>;
  cancel: (member: Member, reason: string) => Promise<void>;
}

export interface GroupEffects {
  /** After a move from `previous` (undefined: everything counts as new). */
  follow(previous: RunRecord | undefined, next: RunRecord, plan: Plan): Promise<void>;
}

export function createGroupEffects({ groups, get, grant, cancel }: GroupEffectsDeps): GroupEffects {
  const join = async (record: RunRecord, job: string, { group, mode }: Concurrency): Promise<void> => {
    const self: Member = { run: record.id, job };
    let line = await groups.join(record.repository, group, self);
    // Whoever stands first and is over (its server died before it left) must not block the others.
    for (let first = line[0]; first && !isSame(first, self) && (await isOver(first)); first = line[0]) {
      await groups.leave(record.repository, group, first);
      line = line.slice(1);
    }
    if (holders(line).some((one) => isSame(one, self))) return grant(self);
    if (mode === 'queue') return;
    const place = line.findIndex((one) => isSame(one, self) || isSame(one, { run: self.run, job: '' }));
    const before = line.slice(0, place);
    // An older run comes after a newer one when its jobs before this one took longer, or it was planned later.
    for (const other of before) {
      const isOlder = isNewer(other, self) && !(await isBeside(other, record));
      if (isOlder && !(await isOver(other))) return cancel(self, 'superseded');
    }
    for (const other of mode === 'cancel' ? before : before.slice(1))
      if (isNewer(self, other) && !(await isBeside(other, record))) await cancel(other, 'superseded');
  };

  /** A run of another pipeline of the same event, which a re-run is no reason to end. */
  const isBeside = async ({ run }: Member, { sha, source, pipeline }: RunRecord): Promise<boolean> => {
    const other = await get(run);
    return other?.sha === sha && other.source.receivedAt === source.receivedAt && other.pipeline !== pipeline;
  };

  const leave = async (record: RunRecord, job: string, { group }: Concurrency): Promise<void> => {
    for (const member of holders(await groups.leave(record.repository, group, { run: record.id, job })))
      await grant(member);
  };

  const isOver = async ({ run, job }: Member): Promise<boolean> => {
    const record = await get(run);
    if (!record || isFinal(record.state)) return true;
    const found = job === '' ? undefined : jobOf(record, job);
    return found !== undefined && isFinal(found.state);
  };

  return {
    async follow(previous, next, plan) {
      if (plan.concurrency) {
        if (next.group === 'waiting' && previous?.group !== 'waiting' && !isFinal(next.state))
          await join(next, '', plan.concurrency);
        if (isFinal(next.state) && !(previous && isFinal(previous.state))) await leave(next, '', plan.concurrency);
      }
      for (const job of next.jobs) {
        const concurrency = specOf(plan, job.id)?.concurrency;
        const place = next.control[job.id]?.group;
        if (!concurrency || place === undefined) continue;
        const before = previous && jobOf(previous, job.id);
        if (isFinal(job.state)) {
          if (!before || !isFinal(before.state)) await leave(next, job.id, concurrency);
        } else if (place === 'waiting' && previous?.control[job.id]?.group !== 'waiting')
          await join(next, job.id, concurrency);
      }
    },
  };
}

/** Whose turn it is: the first's, and when that is a whole run, the first's of its own jobs in the same group as well. */
function holders([first, ...others]: Member[]): Member[] {
  if (!first) return [];
  const own = first.job === '' ? others.find((one) => one.run === first.run) : undefined;
  return own ? [first, own] : [first];
}

/** By when they were asked for: runs of one event (several pipelines), as the jobs of one run, are of the same age. */
function isNewer(one: Member, other: Member): boolean {
  return timeOfRunId(one.run) > timeOfRunId(other.run);
}
