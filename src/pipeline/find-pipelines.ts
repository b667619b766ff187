/** Which files of a commit are pipelines, and what is in them. */
import type { Diagnostic } from './diagnostic.ts';
import { isPlainObject } from './convert-yaml.ts';
import { parseSources } from './parse.ts';
import type { Pipeline } from './pipeline.ts';
import { readYaml } from './read-yaml.ts';
import { makeDiagnostic, type YamlSource } from './yaml-source.ts';

/** Files of one commit, or of a folder. */
export interface FileReader {
  /** Names in a folder; empty when there is no such folder. */
  list: (folder: string) => Promise<string[]>;
  /** Text of a file; undefined when there is no such file. */
  read: (path: string) => Promise<string | undefined>;
}

export interface LoadedPipeline {
  file: string;
  /** `name:`, or the base name under `.impgem/`, or ''. */
  name: string;
  /** Text of each file it was made of, by path: for renderDiagnostics. */
  sources: Record<string, string>;
  /** Absent when there is an error. */
  pipeline?: Pipeline;
  diagnostics: Diagnostic[];
}

const FILES = ['.impgem.yml', '.impgem.yaml'];
const FOLDER = '.impgem';
/** What findPipelines looks at first: a reader may have these at hand. */
export const PIPELINE_PATHS = [...FILES, FOLDER];
/** Pipelines of one commit, and files that one of them includes. */
const MAX_FILES = 50;

/** `.impgem.yml`, else `.impgem.yaml`, else every YAML file of `.impgem/`, by name. Empty when there is none. */
export async function findPipelines(reader: FileReader): Promise<LoadedPipeline[]> {
  for (const file of FILES) {
    const text = await reader.read(file);
    if (text !== undefined) return [await loadPipeline(file, text, reader)];
  }
  const names = (await reader.list(FOLDER)).filter((name) => /\.ya?ml$/.test(name) && !name.includes('/')).sort();
  const files = await Promise.all(
    names
      .slice(0, MAX_FILES)
      .map(async (name) => ({ file: `${FOLDER}/${name}`, text: await reader.read(`${FOLDER}/${name}`) })),
  );
  const loaded = await Promise.all(files.map(({ file, text }) => loadPipeline(file, text ?? '', reader)));
  return reportSameNames(loaded);
}

/** One file with what it includes. Never throws for what is in the files. */
export async function loadPipeline(file: string, text: string, reader: FileReader): Promise<LoadedPipeline> {
  const main = readYaml(text, file);
  const { included, diagnostics } = await readIncludes(main, reader);
  const parsed = parseSources([main, ...included]);
  const all = [...diagnostics, ...parsed.diagnostics];
  const sources = Object.fromEntries([main, ...included].map((source) => [source.file, source.text]));
  const base = { file, sources, diagnostics: all };
  if (!parsed.pipeline || diagnostics.length > 0) return { ...base, name: baseName(file) };
  return { ...base, name: parsed.pipeline.name, pipeline: parsed.pipeline };
}

async function readIncludes(
  main: YamlSource,
  reader: FileReader,
): Promise<{ included: YamlSource[]; diagnostics: Diagnostic[] }> {
  const included: YamlSource[] = [];
  const diagnostics: Diagnostic[] = [];
  const value = isPlainObject(main.value) ? main.value['include'] : undefined;
  const paths: unknown[] = Array.isArray(value) ? value : value === undefined ? [] : [value];
  for (const [index, path] of paths.entries()) {
    // Of another type: the schema says so.
    if (typeof path !== 'string') continue;
    const span = main.locate(Array.isArray(value) ? ['include', index] : ['include'], 'value') ?? { start: 0, end: 0 };
    const report = (message: string, hint?: string) =>
      diagnostics.push(
        makeDiagnostic(main.file, main.text, span, {
          code: 'include-invalid',
          message,
          hint,
          docs: 'docs/pipeline.md#include',
        }),
      );
    if (index >= MAX_FILES) {
      report(`A pipeline includes at most ${MAX_FILES} files.`);
      break;
    }
    if (!isRepositoryPath(path)) {
      report(
        `\`${path}\` is not a path in the repository.`,
        'Write it from the root of the repository: ci/common.yml.',
      );
      continue;
    }
    const text = await reader.read(path);
    if (text === undefined) {
      report(`There is no file \`${path}\` at this commit.`);
      continue;
    }
    const source = readYaml(text, path);
    if (isPlainObject(source.value) && source.value['include'] !== undefined)
      report(`\`${path}\` is included and includes files itself; list them all here.`);
    included.push(source);
  }
  return { included, diagnostics };
}

function isRepositoryPath(path: string): boolean {
  return (
    /^[A-Za-z0-9_.][A-Za-z0-9_./ -]*\.ya?ml$/.test(path) &&
    !path.split('/').some((part) => part === '..' || part === '.' || part === '')
  );
}

function baseName(file: string): string {
  return file.startsWith(`${FOLDER}/`) ? file.slice(FOLDER.length + 1).replace(/\.ya?ml$/, '') : '';
}

/** Two pipelines of one name would report under the same status contexts. */
function reportSameNames(loaded: LoadedPipeline[]): LoadedPipeline[] {
  const seen = new Map<string, string>();
  return loaded.map((one) => {
    const other = seen.get(one.name);
    if (other === undefined) {
      seen.set(one.name, one.file);
      return one;
    }
    if (!one.pipeline) return one;
    const diagnostic = one.pipeline.diagnose(['name'], {
      code: 'name-twice',
      message: `${other} is named \`${one.name}\` as well.`,
    });
    return { file: one.file, name: one.name, sources: one.sources, diagnostics: [...one.diagnostics, diagnostic] };
  });
}
