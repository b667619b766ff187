/** What is allowed and probably not meant: for `impgem lint`. */
import type { Diagnostic } from './diagnostic.ts';
import { MAX_DIAGNOSTICS } from './diagnostic.ts';
import { jobsOf } from './jobs-of.ts';
import type { DiagnosticDetail, Pipeline } from './pipeline.ts';
import type { Path } from './yaml-source.ts';
import { warnOfImages } from './warn-images.ts';
import { warnOfScripts } from './warn-scripts.ts';
import { warnOfSecrets } from './warn-secrets.ts';
import { warnOfUnreachable } from './warn-unreachable.ts';
import { warnOfUnusedOutputs } from './warn-unused-outputs.ts';

export type Warn = (path: Path, detail: Omit<DiagnosticDetail, 'severity'>) => void;

export function findWarnings(pipeline: Pipeline): Diagnostic[] {
  const found: Diagnostic[] = [];
  const warn: Warn = (path, detail) => {
    if (found.length < MAX_DIAGNOSTICS) found.push(pipeline.diagnose(path, { ...detail, severity: 'warning' }));
  };
  const { source } = pipeline;
  const jobs = jobsOf(source);
  warnOfSecrets(source, jobs, warn);
  warnOfImages(source, jobs, warn);
  warnOfScripts(jobs, warn);
  warnOfUnreachable(source, jobs, warn);
  warnOfUnusedOutputs(source, warn);
  return found;
}
