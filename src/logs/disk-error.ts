import { ImpGemError, InfrastructureError } from '../errors.ts';

const FULL = new Set(['ENOSPC', 'EDQUOT']);

/** What a failing log means to whoever sees it; our own errors pass. */
export function diskError(error: unknown): ImpGemError {
  if (error instanceof ImpGemError) return error;
  if (FULL.has(codeOf(error))) {
    const message = 'The disk of the data folder is full: the log cannot grow until there is room.';
    return new InfrastructureError('disk-full', message, { cause: error, retryable: true });
  }
  const message = `The log cannot be read or written on the disk of the data folder (${codeOf(error) || 'unknown'}).`;
  return new InfrastructureError('log-disk', message, { cause: error });
}

export function isMissing(error: unknown): boolean {
  return codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR';
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}
