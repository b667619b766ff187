import type { LogKey, RunRecord } from '../runs/run.ts';
import type { Metrics } from '../server/metrics.ts';

interface LogLengths {
  list(run: string): Promise<LogKey[]>;
  length(key: LogKey): Promise<number>;
}

/** What a run that ended adds to the metrics. */
export async function recordRun(metrics: Metrics, record: RunRecord, logs: LogLengths): Promise<void> {
  const { state } = record;
  metrics.count('impgem_runs_total', { state });
  metrics.observe('impgem_run_seconds', secondsBetween(record.createdAt, record.endedAt), { state });
  // What a re-run kept of an earlier run was counted there.
  const own = record.jobs.filter(({ endedAt }) => endedAt === undefined || endedAt >= record.createdAt);
  for (const job of own) {
    metrics.count('impgem_jobs_total', { state: job.state });
    if (job.attempt > 1) metrics.count('impgem_job_retries_total', {}, job.attempt - 1);
    const readyAt = record.control[job.id]?.readyAt;
    if (readyAt !== undefined && job.startedAt !== undefined && job.attempt === 1)
      metrics.observe('impgem_job_wait_seconds', secondsBetween(readyAt, job.startedAt));
    for (const step of job.steps)
      if (step.startedAt !== undefined)
        metrics.observe('impgem_step_seconds', secondsBetween(step.startedAt, step.endedAt), { state: step.state });
  }
  const lengths = await Promise.all(
    (await logs.list(record.id))
      .filter(({ job }) => job === '' || own.some(({ id }) => id === job))
      .map((key) => logs.length(key)),
  );
  metrics.count(
    'impgem_log_bytes_total',
    {},
    lengths.reduce((sum, one) => sum + one, 0),
  );
}

function secondsBetween(from: string, to: string | undefined): number {
  return Math.max(0, (Date.parse(to ?? from) - Date.parse(from)) / 1000);
}
