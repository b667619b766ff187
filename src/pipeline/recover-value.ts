/** Lets the checks go on after mistakes of form, so that an author sees all mistakes at once. */
import { isPlainObject } from './convert-yaml.ts';
import type { SchemaProblem } from './explain-schema-errors.ts';

/** Without these, what follows would only be more complaints about their absence. */
const NEEDED = new Set(['jobs', 'steps', 'matrix', 'needs', 'name', 'outputs', 'include']);

/** A copy with the wrong parts renamed or taken out; undefined where that would lead to mistakes nobody made. */
export function recoverValue(value: unknown, problems: readonly SchemaProblem[]): unknown {
  const copy: unknown = structuredClone(value);
  for (const problem of problems) if (!repair(copy, problem)) return undefined;
  return copy;
}

function repair(root: unknown, { path, code, meant, missing }: SchemaProblem): boolean {
  if (missing === 'run') {
    const step = follow(root, path);
    if (isPlainObject(step)) step['run'] ??= 'true';
    return isPlainObject(step);
  }
  let length = path.length;
  while (length > 0 && typeof path[length - 1] === 'number') length -= 1;
  const key = path[length - 1];
  const owner = follow(root, path.slice(0, Math.max(0, length - 1)));
  if (typeof key !== 'string' || !isPlainObject(owner)) return false;
  if (code !== 'unknown-key' && NEEDED.has(key)) return false;
  if (meant !== undefined) owner[meant] ??= owner[key];
  Reflect.deleteProperty(owner, key);
  if (key === 'run' && typeof path[length - 2] === 'number') owner[key] = 'true';
  return true;
}

function follow(root: unknown, path: SchemaProblem['path']): unknown {
  return path.reduce<unknown>(
    (value, part) =>
      typeof value === 'object' && value !== null ? (value as Record<string | number, unknown>)[part] : undefined,
    root,
  );
}
