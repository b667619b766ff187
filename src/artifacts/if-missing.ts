import { systemCode } from '../errors.ts';

/** What the promise gives, or `value` when there is no such file or folder; any other failure stays one. */
export async function ifMissing<T, V>(value: V, found: Promise<T>): Promise<T | V> {
  try {
    return await found;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(systemCode(error))) return value;
    throw error;
  }
}
