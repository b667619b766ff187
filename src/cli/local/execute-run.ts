/** A run without a server: the same state machine, held in memory, driven until it ends. */
import { assignmentOf } from '../../runs/job-source.ts';
import { decideIf } from '../../runs/decide-if.ts';
import { specOf } from '../../runs/lookups.ts';
import * as machine from '../../runs/machine.ts';
import type { Plan } from '../../runs/plan.ts';
import type { Rules } from '../../runs/readiness.ts';
import { isFinal, type RunRecord } from '../../runs/run.ts';
import { messageOf } from '../../errors.ts';
import type { Assignment, JobResult, StateReporter } from '../../worker/ports.ts';

export interface LocalRunDeps {
  plan: Plan;
  /** Jobs at the same time. */
  concurrency: number;
  links: Assignment['links'];
  runJob(assignment: Assignment, report: StateReporter, cancel: AbortSignal): Promise<JobResult>;
  /** Hears of every state, the first and the last included. */
  onChange(record: RunRecord): void;
  /** Aborted: everything is cancelled at once, with its reason. */
  cancel: AbortSignal;
}

const WORKER = 'local';

/** The record in its final state. Never throws: a job whose runner throws ends `errored`. */
export function executeRun(first: RunRecord, deps: LocalRunDeps): Promise<RunRecord> {
  const rules: Rules = { plan: deps.plan, decideIf, maxLosses: 1 };
  let record = first;
  const running = new Map<string, AbortController>();
  const waiting = new Map<string, NodeJS.Timeout>();
  const now = (): string => new Date().toISOString();

  return new Promise((resolve) => {
    const move = (next: RunRecord): void => {
      if (next !== record) {
        record = next;
        deps.onChange(record);
      }
      if (isFinal(record.state) && running.size === 0) {
        deps.cancel.removeEventListener('abort', onCancel);
        for (const timer of waiting.values()) clearTimeout(timer);
        resolve(record);
        return;
      }
      const granted = grantGroups();
      if (granted === record) startReady();
      else move(granted);
    };
    const onCancel = (): void => {
      const reason = String(deps.cancel.reason);
      const next = machine.requestCancel(record, rules, reason, now());
      for (const job of running.values()) job.abort(reason);
      move(next);
    };

    function startReady(): void {
      for (const job of record.jobs) {
        const control = record.control[job.id];
        if (running.size >= deps.concurrency) return;
        if (job.state !== 'pending' || control?.readyAt === undefined || running.has(job.id)) continue;
        const wait = Date.parse(control.notBefore ?? '') - Date.now();
        if (wait > 0) startLater(job.id, wait);
        else start(job.id, control.fence);
      }
    }

    function startLater(id: string, wait: number): void {
      if (waiting.has(id)) return;
      const again = (): void => {
        waiting.delete(id);
        startReady();
      };
      waiting.set(id, setTimeout(again, wait));
    }

    /** Nothing else runs here: a group waits only for jobs of this run. */
    function grantGroups(): RunRecord {
      let next = record.group === 'waiting' ? machine.grantGroup(record, rules, '', now()) : record;
      const groupOf = (id: string) => specOf(deps.plan, id)?.concurrency?.group;
      for (const { id } of next.jobs) {
        if (next.control[id]?.group !== 'waiting') continue;
        const holder = next.jobs.find(
          (job) => !isFinal(job.state) && next.control[job.id]?.group === 'granted' && groupOf(job.id) === groupOf(id),
        );
        if (!holder) next = machine.grantGroup(next, rules, id, now());
      }
      return next;
    }

    function start(id: string, fence: number): void {
      const claimed = machine.claim(record, id, fence, WORKER, now());
      if (claimed === record) return;
      const cancel = new AbortController();
      running.set(id, cancel);
      record = claimed;
      deps.onChange(record);
      const lease = { run: record.id, job: id, fence: fence + 1, worker: WORKER };
      const report: StateReporter = {
        step: (index, change) => {
          move(machine.reportStep(record, id, lease.fence, index, change));
          return Promise.resolve();
        },
      };
      const end = (result: JobResult): void => {
        running.delete(id);
        move(machine.endJob(record, rules, id, lease.fence, result, now()));
      };
      deps
        .runJob(assignmentOf(record, deps.plan, lease, deps.links, []), report, cancel.signal)
        .then(end, (error: unknown) =>
          end({ state: 'errored', reason: messageOf(error), outputs: {}, infrastructure: true }),
        );
    }

    deps.cancel.addEventListener('abort', onCancel);
    deps.onChange(record);
    if (deps.cancel.aborted) onCancel();
    else move(machine.advance(record, rules, now()));
  });
}
