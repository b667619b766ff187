import type { Path } from './yaml-source.ts';

/** The chapter of docs/pipeline.md about the key that a path leads to. */
export function docsOf(path: Path): string {
  const keys = path.filter((part): part is string => typeof part === 'string');
  const [first = '', , inJob = ''] = keys;
  const key =
    first === 'jobs'
      ? inJob === 'steps'
        ? (keys[3] ?? inJob)
        : inJob || first
      : first === 'steps'
        ? (keys[1] ?? first)
        : first;
  return /^[a-z-]+$/.test(key) && CHAPTERS.has(key) ? `docs/pipeline.md#${key}` : 'docs/pipeline.md';
}

/** A test holds that each is a heading of the page. */
export const CHAPTERS: ReadonlySet<string> = new Set([
  'allow-failure',
  'artifacts',
  'background',
  'cache',
  'clone',
  'concurrency',
  'defaults',
  'docker',
  'env',
  'image',
  'include',
  'jobs',
  'limits',
  'matrix',
  'name',
  'needs',
  'network',
  'outputs',
  'retry',
  'run',
  'runs-on',
  'secrets',
  'services',
  'shell',
  'steps',
  'timeout',
  'when',
  'working-directory',
]);
