/** Pipeline files of a folder or named one by one, for `lint` and `plan`. Needs no git and no settings. */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { InputError, whyUnreadable } from '../errors.ts';
import { type FileReader, findPipelines, loadPipeline, type LoadedPipeline } from '../pipeline/find-pipelines.ts';

/** All pipelines of the repository around the current folder, or these files. Throws InputError `no-pipeline`. */
export async function readPipelines(files: readonly string[]): Promise<LoadedPipeline[]> {
  if (files.length > 0) return Promise.all(files.map(readOne));
  const root = repositoryRoot(process.cwd()) ?? process.cwd();
  const found = await findPipelines(readerOf(root));
  if (found.length === 0)
    throw new InputError('no-pipeline', `${root} has no .impgem.yml, no .impgem.yaml and no file in .impgem/`);
  return found;
}

async function readOne(file: string): Promise<LoadedPipeline> {
  const path = resolve(file);
  const root = repositoryRoot(dirname(path)) ?? process.cwd();
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new InputError('no-pipeline', `${file} ${whyUnreadable(error)}`, { cause: error });
  });
  const shown = relative(root, path);
  return loadPipeline(shown.startsWith('..') ? path : shown.split(sep).join('/'), text, readerOf(root));
}

function readerOf(root: string): FileReader {
  return {
    list: (folder) => readdir(join(root, folder)).catch(() => []),
    read: (path) => readFile(join(root, path), 'utf8').catch(() => undefined),
  };
}

/** The nearest folder with a `.git`. */
function repositoryRoot(folder: string): string | undefined {
  for (let current = folder; ; current = dirname(current)) {
    if (existsSync(join(current, '.git'))) return current;
    if (dirname(current) === current) return undefined;
  }
}
