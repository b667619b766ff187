import type { JobSpec } from './plan.ts';
import type { Job, State } from './run.ts';

const WORSE: State[] = ['succeeded', 'skipped', 'pending', 'running', 'errored', 'cancelled', 'failed'];

/**
 * Results and outputs of what a job needs, by key as written; a matrix's cells share a key: the worst result, and of
 * each output the last cell's that is not empty.
 */
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
    found[need.key] = { result: worse ? job.state : before.result, outputs: merge(before?.outputs, job.outputs) };
  }
  return found;
}

/** An output that only some cells write is empty in the others. */
function merge(before: Record<string, string> = {}, outputs: Record<string, string> = {}): Record<string, string> {
  const given = Object.entries(outputs).filter(([name, value]) => value !== '' || !Object.hasOwn(before, name));
  return { ...before, ...Object.fromEntries(given) };
}
