/** Labels and names by which what we made on an engine is found again. */
import { processMark } from '../../process-mark.ts';
import type { JobOwner } from '../executor.ts';
import type { DockerOptions } from './options.ts';

export const LABEL = {
  instance: 'dev.impgem.instance',
  worker: 'dev.impgem.worker',
  /** The process that made it, as processMark says: a worker's name may be borne by two. */
  process: 'dev.impgem.process',
  slot: 'dev.impgem.slot',
  run: 'dev.impgem.run',
  job: 'dev.impgem.job',
  attempt: 'dev.impgem.attempt',
  step: 'dev.impgem.step',
} as const;

/** What LABEL.step says of a job's nested engine: by it an adopted job finds its own again. */
export const NESTED_STEP = 'nested-engine';

/** Of a container that is nobody's they are there as well, and empty: else an image could bear some of its own. */
export function ownerLabels(owner: JobOwner | undefined): Record<string, string> {
  const { run = '', job = '', attempt = '' } = owner ?? {};
  return { [LABEL.run]: run, [LABEL.job]: job, [LABEL.attempt]: String(attempt) };
}

/** What everything bears that this process makes; `slot` is empty for what is made for the moment, outside of any. */
export function commonLabels(
  options: Pick<DockerOptions, 'instance' | 'workerName'>,
  slot = '',
): Record<string, string> {
  return {
    [LABEL.instance]: options.instance,
    [LABEL.worker]: options.workerName,
    [LABEL.process]: processMark(),
    [LABEL.slot]: slot,
  };
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
  if (run && job) return { run, job, attempt: Number(attempt) };
  for (const name of names) {
    const match = /^\/impgem-job\.([^.]+)\.([^.]+)\.(\d+)$/.exec(name);
    if (match) return { run: match[1] ?? '', job: match[2] ?? '', attempt: Number(match[3]) };
  }
  return undefined;
}
