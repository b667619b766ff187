/** Labels and names by which what we made on an engine is found again. */
import type { JobOwner } from '../executor.ts';

export const LABEL = {
  instance: 'dev.impgem.instance',
  worker: 'dev.impgem.worker',
  slot: 'dev.impgem.slot',
  run: 'dev.impgem.run',
  job: 'dev.impgem.job',
  attempt: 'dev.impgem.attempt',
  step: 'dev.impgem.step',
} as const;

/** What LABEL.step says of a job's nested engine: by it an adopted job finds its own again. */
export const NESTED_STEP = 'nested-engine';

export function ownerLabels(owner: JobOwner): Record<string, string> {
  return { [LABEL.run]: owner.run, [LABEL.job]: owner.job, [LABEL.attempt]: String(owner.attempt) };
}

/**
 * A container that was warm before its job came has no labels of the job (an engine cannot add any), but can be renamed:
 * the name of the container that holds a job's network says whose it is. Ids hold letters, digits, `_` and `-` only.
 */
export function holderName(owner: JobOwner): string {
  return `impgem-job.${owner.run}.${owner.job}.${owner.attempt}`;
}

/** The job that a container was made for, or claimed by. */
export function ownerOf(labels: Record<string, string>, names: string[]): JobOwner | undefined {
  const { [LABEL.run]: run, [LABEL.job]: job, [LABEL.attempt]: attempt } = labels;
  if (run !== undefined && job !== undefined) return { run, job, attempt: Number(attempt) };
  for (const name of names) {
    const match = /^\/impgem-job\.([^.]+)\.([^.]+)\.(\d+)$/.exec(name);
    if (match) return { run: match[1] ?? '', job: match[2] ?? '', attempt: Number(match[3]) };
  }
  return undefined;
}
