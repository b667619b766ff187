import type { JobSpec } from './plan.ts';
import type { Job, State } from './run.ts';

const WORSE: State[] = ['succeeded', 'skipped', 'pending', 'running', 'errored', 'cancelled', 'failed'];

/** Results and outputs of what a job needs, by key as written; a matrix's cells share a key: the worst result, and all outputs. */
export function needsOf(
  spec: JobSpec,
  jobs: readonly Job[],
): Record<string, { result: State; outputs: Record<string, string> }> {
  const found: Record<string, { result: State; outputs: Record<string, string> }> = {};
  for (const need of spec.needs) {
    const job = jobs.find((one) => one.id === need.job);
    if (!job) continue;
    const before = found[need.key];
    const worse = !before || WORSE.indexOf(job.state) > WORSE.indexOf(before.result);
    found[need.key] = { result: worse ? job.state : before.result, outputs: { ...before?.outputs, ...job.outputs } };
  }
  return found;
}
