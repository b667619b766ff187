import { InputError } from '../errors.ts';

const LONGEST_PATH = 4096;
const LONGEST_NAME = 255;

/**
 * Why a path that a stranger chose is not a plain relative one (`a/b.txt`) in names that people and other systems can
 * take; undefined when it is.
 */
export function pathFault(path: string): string | undefined {
  if (/[\0-\x1f\x7f\\\ufffd]/.test(path)) return 'its name has a backslash or characters that are no text';
  return placeFault(path);
}

/** The same for a path that only comes back to where it was: any name that a disk of ours holds and that is UTF-8. */
export function placeFault(path: string): string | undefined {
  if (path === '') return 'it is empty';
  if (path.length > LONGEST_PATH) return `it is longer than ${LONGEST_PATH} characters`;
  if (/[\0\ufffd]/.test(path)) return 'its name is no UTF-8';
  const names = path.split('/');
  if (names.some((name) => name === '' || name === '.' || name === '..')) return 'its path is not plain';
  if (names.some((name) => Buffer.byteLength(name) > LONGEST_NAME)) return 'a name in it is too long';
  return undefined;
}

/** The same, as InputError `path-invalid`. */
export function checkPath(path: string): string {
  const fault = pathFault(path);
  if (fault) throw new InputError('path-invalid', `Path ${JSON.stringify(path.slice(0, 80))} is refused: ${fault}.`);
  return path;
}
