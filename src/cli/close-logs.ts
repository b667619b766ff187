import type { LogStore } from '../logs/log-store.ts';
import type { RunRecord } from '../runs/run.ts';

/**
 * Closes the logs of a run that is over which nobody closed, since their worker died: nothing comes any more, and who
 * follows them need not wait to see. Only where that may be: most runs are over without a look at the disk.
 */
export async function closeLogs(logs: Pick<LogStore, 'list' | 'stat' | 'close'>, record: RunRecord): Promise<void> {
  const changedHands = Object.values(record.control).some(({ fence }) => fence > 1);
  if (!changedHands && record.state !== 'cancelled' && record.state !== 'errored') return;
  for (const key of await logs.list(record.id)) if (!(await logs.stat(key))?.closed) await logs.close(key);
}
