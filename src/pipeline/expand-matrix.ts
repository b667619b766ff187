import { createHash } from 'node:crypto';
import type { MatrixCell, MatrixSource } from './schema.ts';

/** Results of one matrix. */
export const MAX_CELLS = 256;
/** Combinations before `exclude`: refused by their number, without making them. */
const MAX_COMBINATIONS = 1024;

/** Names of the axes, in the order of the file. */
function axesOf(matrix: MatrixSource): [string, MatrixCell[string][]][] {
  return Object.entries(matrix).filter(
    (entry): entry is [string, MatrixCell[string][]] => entry[0] !== 'include' && entry[0] !== 'exclude',
  );
}

/** Every name a cell can have. */
export function matrixNames(matrix: MatrixSource): Set<string> {
  return new Set([
    ...axesOf(matrix).map(([name]) => name),
    ...(matrix.include ?? []).flatMap((cell) => Object.keys(cell)),
  ]);
}

/**
 * All combinations, without those that match an entry of `exclude`, with `include`: its values are added to every
 * combination whose own values they do not change; an entry that fits none becomes a cell of its own.
 * Gives the number of results instead when they are too many.
 */
export function expandMatrix(matrix: MatrixSource | undefined): Expanded {
  if (!matrix) return [{}];
  const known = expanded.get(matrix) ?? expand(matrix);
  expanded.set(matrix, known);
  return known;
}

type Expanded = MatrixCell[] | { tooMany: number };
/** Checks, warnings and the plan all ask for the cells. */
const expanded = new WeakMap<MatrixSource, Expanded>();

function expand(matrix: MatrixSource): Expanded {
  const axes = axesOf(matrix);
  const combinations = axes.reduce((product, [, values]) => product * values.length, axes.length > 0 ? 1 : 0);
  if (combinations > MAX_COMBINATIONS) return { tooMany: combinations };
  const excluded = (matrix.exclude ?? []).map(Object.entries);
  let cells: MatrixCell[] = axes.length > 0 ? [{}] : [];
  for (const [name, values] of axes)
    cells = cells.flatMap((cell) => values.map((value) => ({ ...cell, [name]: value })));
  cells = cells.filter((cell) => !excluded.some((pattern) => matches(cell, pattern)));

  const axisNames = new Set(axes.map(([name]) => name));
  const combined = cells.length;
  for (const extra of matrix.include ?? []) {
    const own = Object.entries(extra).filter(([name]) => axisNames.has(name));
    const fitting = cells.slice(0, combined).filter((cell) => matches(cell, own));
    if (fitting.length > 0) for (const cell of fitting) Object.assign(cell, extra);
    else cells.push({ ...extra });
    if (cells.length > MAX_COMBINATIONS) break;
  }
  const unique = [
    ...new Map(
      cells.map((cell) => [JSON.stringify(Object.entries(cell).map(([k, v]) => [k, String(v)])), cell]),
    ).values(),
  ];
  return unique.length > MAX_CELLS ? { tooMany: unique.length } : unique;
}

function matches(cell: MatrixCell, pattern: readonly [string, MatrixCell[string]][]): boolean {
  return pattern.every(([name, value]) => Object.hasOwn(cell, name) && String(cell[name]) === String(value));
}

export interface CellName {
  id: string;
  name: string;
}

const MAX_ID = 100;
const MAX_NAME = 120;

/** `test-20-linux` and `test (20, linux)`: stable over runs, made unique by a hash of the values where they clash. */
export function nameCells(key: string, cells: readonly MatrixCell[], taken: Set<string>): CellName[] {
  return cells.map((cell) => {
    const values = Object.values(cell).map(String);
    if (values.length === 0) return { id: key, name: key };
    const slug = values.map((value) => value.replace(/[^A-Za-z0-9_]+/g, '-').replace(/^-+|-+$/g, '')).join('-');
    const shown = values.map((value) => value.replace(/[\s\p{Cc}]+/gu, ' ')).join(', ');
    const plain = { id: `${key}-${slug}`.replace(/-+$/, ''), name: `${key} (${shown})` };
    const fits =
      plain.id.length <= MAX_ID && plain.name.length <= MAX_NAME && !taken.has(plain.id) && !taken.has(plain.name);
    const chosen = fits ? plain : withHash(plain, cell);
    taken.add(chosen.id).add(chosen.name);
    return chosen;
  });
}

function withHash({ id, name }: CellName, cell: MatrixCell): CellName {
  const values = JSON.stringify(Object.entries(cell));
  const hash = createHash('sha256').update(values).digest('hex').slice(0, 8);
  return { id: `${id.slice(0, MAX_ID - 9)}-${hash}`, name: `${name.slice(0, MAX_NAME - 11)} #${hash}` };
}
