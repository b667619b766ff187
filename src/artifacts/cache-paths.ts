import { createHash } from 'node:crypto';
import { InputError } from '../errors.ts';
import { checkPath } from './safe-path.ts';

export const CACHE_ROOTS = ['workspace', 'home'] as const;
export type CacheRoot = (typeof CACHE_ROOTS)[number];

export interface CachePath {
  root: CacheRoot;
  path: string;
}

/** `node_modules`, `./target/`, `~/.npm`: InputError `path-invalid` for anything else than a place below those two. */
export function parseCachePath(text: string): CachePath {
  const home = text.startsWith('~/');
  const path = (home ? text.slice(2) : text).replace(/^(\.\/)+/, '').replace(/\/+$/, '');
  if (path === '.' || path.startsWith('~')) {
    throw new InputError('path-invalid', `Cache path ${JSON.stringify(text.slice(0, 80))} names no folder below it.`);
  }
  return { root: home ? 'home' : 'workspace', path: checkPath(path) };
}

/**
 * A link is kept when no step from it leaves its root: `..` only in front, no more often than there are folders above
 * it, so that links on the way (which all obey this) cannot lead out either.
 */
export function linkStaysInside(path: string[], target: string): boolean {
  if (target === '' || target.startsWith('/') || target.includes('\0') || target.length > 4096) return false;
  const names = target.split('/').filter((name) => name !== '' && name !== '.');
  const firstDown = names.findIndex((name) => name !== '..');
  const ups = firstDown === -1 ? names.length : firstDown;
  return ups < path.length && !names.slice(ups).includes('..');
}

/** Name of a file or folder for any text: nothing that a stranger chose becomes part of a path. */
export function hashName(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
