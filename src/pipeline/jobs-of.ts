import type { JobSource, PipelineSource } from './schema.ts';

export interface KeyedJob {
  key: string;
  job: JobSource;
  /** Leads to the job in the file; empty for top-level `steps`. */
  path: (string | number)[];
}

/** The jobs of a pipeline; top-level `steps` are one job `main`. */
export function jobsOf(source: PipelineSource): KeyedJob[] {
  if (source.jobs) return Object.entries(source.jobs).map(([key, job]) => ({ key, job, path: ['jobs', key] }));
  return source.steps ? [{ key: 'main', job: { steps: source.steps }, path: [] }] : [];
}
