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
/** Characters of a path, as in the schema. */
const MAX_PATH = 500;
/** Characters of all pipelines of one commit, each with what it includes. */
const MAX_CHARACTERS = 2 * 1024 * 1024;

/** `.impgem.yml`, else `.impgem.yaml`, else every YAML file of `.impgem/`, by name. Empty when there is none. */
export async function findPipelines(reader: FileReader): Promise<LoadedPipeline[]> {
  for (const file of FILES) {
    const text = await reader.read(file);
    if (text !== undefined) return [await loadPipeline(file, text, reader)];
  }
  const names = (await reader.list(FOLDER)).filter((name) => /\.ya?ml$/.test(name) && !name.includes('/')).sort();
  const sources = createSources(reader);
  const loaded: LoadedPipeline[] = [];
  // One after the other: what one needs to be read with is gone before the next.
  for (const name of names.slice(0, MAX_FILES)) {
    const file = `${FOLDER}/${name}`;
    loaded.push(await load(file, (await reader.read(file)) ?? '', sources));
  }
  const [first] = names.slice(MAX_FILES);
  if (first !== undefined)
    loaded.push(
      refuse(`${FOLDER}/${first}`, {
        code: 'too-many-pipelines',
        message: `\`${FOLDER}/\` has ${names.length} pipelines; ${MAX_FILES} is the most: this one and those after it do not run.`,
      }),
    );
  return reportSameNames(loaded);
}

/** One file with what it includes. Never throws for what is in the files. */
export function loadPipeline(file: string, text: string, reader: FileReader): Promise<LoadedPipeline> {
  return load(file, text, createSources(reader));
}

/** The files of one commit. */
interface Sources {
  /** Counts a text that a pipeline is made of; false when they are too many. */
  spend(text: string): boolean;
  /** A file that is included, read once however many pipelines include it. */
  include(path: string): Promise<YamlSource | undefined>;
}

function createSources(reader: FileReader): Sources {
  const known = new Map<string, YamlSource | undefined>();
  let characters = 0;
  return {
    spend(text) {
      characters += text.length;
      return characters <= MAX_CHARACTERS;
    },
    async include(path) {
      if (known.has(path)) return known.get(path);
      const text = await reader.read(path);
      const source = text === undefined ? undefined : readYaml(text, path);
      known.set(path, source);
      return source;
    },
  };
}

const TOO_MUCH = {
  code: 'pipelines-too-large',
  message: 'The pipelines of this commit, each with what it includes, have more than 2 MiB.',
};

function refuse(file: string, detail: { code: string; message: string }): LoadedPipeline {
  const diagnostics = [makeDiagnostic(file, '', { start: 0, end: 0 }, detail)];
  return { file, name: baseName(file), sources: {}, diagnostics };
}

async function load(file: string, text: string, sources: Sources): Promise<LoadedPipeline> {
  if (!sources.spend(text)) return refuse(file, TOO_MUCH);
  const main = readYaml(text, file);
  const { included, diagnostics } = await readIncludes(main, sources);
  const parsed = parseSources([main, ...included]);
  const all = [...diagnostics, ...parsed.diagnostics];
  const texts = Object.fromEntries([main, ...included].map((source) => [source.file, source.text]));
  const base = { file, sources: texts, diagnostics: all };
  if (!parsed.pipeline || diagnostics.length > 0) return { ...base, name: baseName(file) };
  return { ...base, name: parsed.pipeline.name, pipeline: parsed.pipeline };
}

async function readIncludes(
  main: YamlSource,
  sources: Sources,
): Promise<{ included: YamlSource[]; diagnostics: Diagnostic[] }> {
  const included: YamlSource[] = [];
  const diagnostics: Diagnostic[] = [];
  const value = isPlainObject(main.value) ? main.value['include'] : undefined;
  const paths: unknown[] = Array.isArray(value) ? value : value === undefined ? [] : [value];
  for (const [index, path] of paths.entries()) {
    // Of another type, or too long: the schema says so.
    if (typeof path !== 'string' || path.length > MAX_PATH) continue;
    const span = main.locate(Array.isArray(value) ? ['include', index] : ['include'], 'value') ?? { start: 0, end: 0 };
    const report = (message: string, hint?: string, code = 'include-invalid') =>
      diagnostics.push(
        makeDiagnostic(main.file, main.text, span, {
          code,
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
    if (included.some((source) => source.file === path)) continue;
    const source = await sources.include(path);
    if (source === undefined) {
      report(`There is no file \`${path}\` at this commit.`);
      continue;
    }
    if (!sources.spend(source.text)) {
      report(TOO_MUCH.message, undefined, TOO_MUCH.code);
      break;
    }
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
