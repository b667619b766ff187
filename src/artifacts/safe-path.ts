import { InputError } from '../errors.ts';

const LONGEST_PATH = 4096;
const LONGEST_NAME = 255;

/** Why a path that a stranger chose is not a plain relative one (`a/b.txt`); undefined when it is. */
export function pathFault(path: string): string | undefined {
  if (path === '') return 'it is empty';
  if (path.length > LONGEST_PATH) return `it is longer than ${LONGEST_PATH} characters`;
  if (/[\0-\x1f\x7f\\\ufffd]/.test(path)) return 'its name has a backslash or characters that are no text';
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
