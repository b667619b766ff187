import type { ErrorObject } from 'ajv';
import { checkPipeline } from './check-pipeline.ts';
import { isPlainObject } from './convert-yaml.ts';
import { type Diagnostic, hasErrors, MAX_DIAGNOSTICS } from './diagnostic.ts';
import { docsOf } from './docs-link.ts';
import { explainSchemaErrors } from './explain-schema-errors.ts';
import type { DiagnosticDetail, Pipeline, Report } from './pipeline.ts';
import { readYaml } from './read-yaml.ts';
import { recoverValue } from './recover-value.ts';
import { PipelineSchema, type PipelineSource } from './schema.ts';
import { pipelineValidator } from './validate-pipeline.ts';
import { makeDiagnostic, type YamlSource } from './yaml-source.ts';

export interface ParseResult {
  /** Absent when there is an error. */
  pipeline?: Pipeline;
  diagnostics: Diagnostic[];
}

/** Text of a pipeline file to a Pipeline, or everything that is wrong with it. Never throws. `include` is not followed. */
export function parsePipeline(text: string, file: string): ParseResult {
  return parseSources([readYaml(text, file)]);
}

/** The pipeline of the first source; the others are what it includes: their keys are taken where it has none. */
export function parseSources(sources: readonly [YamlSource, ...YamlSource[]]): ParseResult {
  const [main] = sources;
  const read = sources.flatMap(({ diagnostics }) => diagnostics);
  if (sources.some(({ value }) => value === undefined)) return { diagnostics: read };
  const diagnose = diagnoseIn(sources);
  const wrong = sources.find(({ value }) => !isPlainObject(value));
  if (wrong) {
    const message = wrong.value === null ? 'The file is empty.' : 'A pipeline is a map with `steps` or `jobs`.';
    return {
      diagnostics: [
        ...read,
        makeDiagnostic(wrong.file, wrong.text, { start: 0, end: 0 }, { code: 'not-a-map', message }),
      ],
    };
  }
  const merged = sources.map(({ value }) => value as Record<string, unknown>).reduce(mergeIncluded);
  const value = Object.fromEntries(Object.entries(merged).filter(([key]) => !key.startsWith('x-')));
  const problems = validate(value);
  const found = [
    ...read,
    ...problems.map(({ path, code, message, key, hint }) => diagnose(path, { code, message, key, hint })),
  ];
  const recovered = problems.length === 0 ? value : recoverValue(value, problems);
  if (recovered !== undefined && (problems.length === 0 || validate(recovered).length === 0))
    runChecks(recovered as PipelineSource, (path, detail) => {
      found.push(diagnose(path, detail));
      if (found.length >= MAX_DIAGNOSTICS) throw new Enough();
    });
  const diagnostics = found.slice(0, MAX_DIAGNOSTICS);
  if (hasErrors(diagnostics)) return { diagnostics };
  return { pipeline: { name: nameOf(value, main.file), file: main.file, source: value, diagnose }, diagnostics };
}

function runChecks(source: PipelineSource, report: Report): void {
  try {
    checkPipeline(source, report);
  } catch (error) {
    if (!(error instanceof Enough)) throw error;
  }
}

/** Ends the checks: a hostile file must not keep us busy with its mistakes. */
class Enough extends Error {}

/** Maps that are merged by key; everything else is taken whole. */
const MERGED = new Set(['jobs', 'env', 'defaults']);

function mergeIncluded(own: Record<string, unknown>, included: Record<string, unknown>): Record<string, unknown> {
  const result = { ...own };
  for (const [key, value] of Object.entries(included)) {
    const mine = own[key];
    if (mine === undefined) result[key] = value;
    else if (MERGED.has(key) && isPlainObject(mine) && isPlainObject(value)) result[key] = { ...value, ...mine };
  }
  return result;
}

/** `.impgem/nightly.yml` is `nightly`; `.impgem.yml` has no name of its own. */
function nameOf(value: Record<string, unknown>, file: string): string {
  if (typeof value['name'] === 'string') return value['name'];
  return /(?:^|\/)\.impgem\/(.+)\.ya?ml$/.exec(file)?.[1] ?? '';
}

function diagnoseIn(sources: readonly [YamlSource, ...YamlSource[]]): Pipeline['diagnose'] {
  return (path, detail) => {
    const what = detail.key ? 'key' : 'value';
    for (let length = path.length; length >= 0; length--) {
      const shorter = path.slice(0, length);
      for (const source of sources) {
        const span = source.locate(shorter, length < path.length ? 'key' : what);
        if (!span) continue;
        return makeDiagnostic(source.file, source.text, narrow(source.text, span, detail), {
          docs: docsOf(path),
          ...detail,
        });
      }
    }
    return makeDiagnostic(sources[0].file, sources[0].text, { start: 0, end: 0 }, detail);
  };
}

/** A map or list is pointed at by its first line; a part of a text by itself, where it stands as it is. */
function narrow(
  text: string,
  span: { start: number; end: number },
  detail: DiagnosticDetail,
): { start: number; end: number } {
  if (!detail.part) return span;
  const start = text.slice(span.start, span.end).indexOf(detail.part);
  return start === -1 ? span : { start: span.start + start, end: span.start + start + detail.part.length };
}

function validate(value: unknown): ReturnType<typeof explainSchemaErrors> {
  const isValid = pipelineValidator();
  if (isValid(value)) return [];
  return explainSchemaErrors(isValid.errors as ErrorObject[], PipelineSchema, value);
}
