/** `impgem lint [FILE...]`: everything that is wrong with pipeline files, at once. */
import { Command, Option } from 'commander';
import { InputError } from '../errors.ts';
import { type Diagnostic, hasErrors, sortDiagnostics } from '../pipeline/diagnostic.ts';
import type { LoadedPipeline } from '../pipeline/find-pipelines.ts';
import { findWarnings } from '../pipeline/find-warnings.ts';
import { planPipeline } from '../pipeline/plan-pipeline.ts';
import { renderDiagnostics } from '../pipeline/render-diagnostics.ts';
import type { PipelineEvent } from '../runs/event.ts';
import { EXIT } from './exit-codes.ts';
import { hasColor } from './has-color.ts';
import { readPipelines } from './read-pipelines.ts';

const ANY_EVENT: PipelineEvent = {
  kind: 'push',
  repository: 'gitea/owner/name',
  ref: 'refs/heads/main',
  branch: 'main',
  sha: '0'.repeat(40),
  message: '',
  author: '',
  receivedAt: '1970-01-01T00:00:00.000Z',
};

const FORMATS = ['text', 'json', 'github'] as const;
type Format = (typeof FORMATS)[number];

export function lintCommand(): Command {
  return new Command('lint')
    .description('say what is wrong with pipeline files')
    .argument('[file...]', 'pipeline files; default: .impgem.yml, .impgem.yaml or every file of .impgem/')
    .addOption(new Option('--format <format>', 'how to say it').choices(FORMATS).default('text'))
    .addHelpText(
      'after',
      `
Examples:
  impgem lint
  impgem lint ci/*.yml
  impgem lint --format json | jq -r '.diagnostics[].code'

Exit code: 0 no errors (there may be warnings), 1 errors, 64 usage.`,
    )
    .action(async (files: string[], { format }: { format: Format }) => {
      try {
        process.exitCode = await lint(files, format);
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
        process.stderr.write(`impgem lint: ${error.message}\n`);
        process.exitCode = EXIT.usage;
      }
    });
}

async function lint(files: readonly string[], format: Format): Promise<number> {
  const loaded = await readPipelines(files);
  const diagnostics = sortDiagnostics(loaded.flatMap(diagnosticsOf));
  const sources = Object.fromEntries(loaded.flatMap((one) => Object.entries(one.sources)));
  process.stdout.write(FORMATTERS[format](diagnostics, sources));
  process.stderr.write(`${summary(loaded, diagnostics)}\n`);
  return hasErrors(diagnostics) ? EXIT.failed : EXIT.passed;
}

function diagnosticsOf({ pipeline, diagnostics }: LoadedPipeline): Diagnostic[] {
  if (!pipeline) return diagnostics;
  // Some mistakes show only when expressions are filled in: an image that is none for a cell of the matrix.
  const planned = planPipeline(pipeline, { event: ANY_EVENT, defaults: { jobTimeoutMs: 1 } });
  return [...diagnostics, ...planned.diagnostics, ...findWarnings(pipeline)];
}

type Formatter = (diagnostics: readonly Diagnostic[], sources: Readonly<Record<string, string>>) => string;

const FORMATTERS: Record<Format, Formatter> = {
  text: (diagnostics, sources) =>
    diagnostics.length === 0 ? '' : `${renderDiagnostics(diagnostics, sources, { color: hasColor(process.stdout) })}\n`,
  json: (diagnostics) => `${JSON.stringify({ ...count(diagnostics), diagnostics }, null, 2)}\n`,
  github: (diagnostics) => diagnostics.map(asWorkflowCommand).join(''),
};

function count(diagnostics: readonly Diagnostic[]): { errors: number; warnings: number } {
  const errors = diagnostics.filter(({ severity }) => severity === 'error').length;
  return { errors, warnings: diagnostics.length - errors };
}

/** `::error file=...::message`: what GitHub shows beside the line. */
function asWorkflowCommand({ severity, file, line, column, endColumn, code, message, hint }: Diagnostic): string {
  const end = endColumn === undefined ? '' : `,endColumn=${endColumn}`;
  const place = `file=${escapeProperty(file)},line=${line},col=${column}${end},title=${escapeProperty(code)}`;
  return `::${severity} ${place}::${escapeData(hint === undefined ? message : `${message} ${hint}`)}\n`;
}

function escapeData(text: string): string {
  return text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
}

function escapeProperty(text: string): string {
  return escapeData(text).replaceAll(':', '%3A').replaceAll(',', '%2C');
}

function summary(loaded: readonly LoadedPipeline[], diagnostics: readonly Diagnostic[]): string {
  const { errors, warnings } = count(diagnostics);
  const files = loaded.map(({ file }) => file).join(', ');
  if (diagnostics.length === 0) return `${files}: nothing to complain about`;
  return `${files}: ${plural(errors, 'error')}, ${plural(warnings, 'warning')}`;
}

function plural(number: number, word: string): string {
  return `${number} ${word}${number === 1 ? '' : 's'}`;
}
