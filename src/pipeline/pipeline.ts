import type { Diagnostic, Severity } from './diagnostic.ts';
import type { PipelineSource } from './schema.ts';
import type { Path } from './yaml-source.ts';

/** A valid pipeline file, includes merged, templates (`x-`) gone. */
export interface Pipeline {
  /** `name:`, or the base name of a file of `.impgem/`, or ''. */
  name: string;
  /** Path in the repository. */
  file: string;
  source: PipelineSource;
  /** A diagnostic at the place of a value. */
  diagnose: (path: Path, detail: DiagnosticDetail) => Diagnostic;
}

export interface DiagnosticDetail {
  code: string;
  message: string;
  severity?: Severity;
  hint?: string | undefined;
  docs?: string | undefined;
  /** The key is meant, not the value. */
  key?: boolean;
  /** Part of the value's text that is meant, as it stands in the file. */
  part?: string | undefined;
}

export type Report = (path: Path, detail: DiagnosticDetail) => void;
