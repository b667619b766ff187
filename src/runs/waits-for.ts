/** What a pending job waits for, in words, and which of these words are worth telling a forge. */
import type { JobSpec } from './plan.ts';
import type { JobControl } from './run.ts';

/** Of a job that is ready; `whyNot`: why no worker takes it. */
export function readyWaitsFor(spec: JobSpec, control: JobControl, now: string, whyNot?: string): string {
  if (control.notBefore !== undefined && control.notBefore > now)
    return `its next try at ${control.notBefore.slice(0, 19).replace('T', ' ')} UTC`;
  const labels = spec.runsOn.length > 0 ? ` with labels ${spec.runsOn.join(', ')}` : '';
  return `a worker${labels}${whyNot === undefined ? '' : ` (${whyNot})`}`;
}

/** Undefined for what is over in a moment, mostly: a worker that is there. Details within a kind may change often. */
export function kindOfWaiting(waitingFor = ''): string | undefined {
  if (waitingFor.startsWith('a worker')) return waitingFor.endsWith(')') ? 'no worker' : undefined;
  return /^(?:job|concurrency group|its next try)/.exec(waitingFor)?.[0];
}
