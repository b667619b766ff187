/**
 * The few kinds of failure a user can meet. Each has a stable `code` that scripts may test, a sentence that says what
 * to do, and keeps the library's error as `cause`; nothing from a library reaches a user raw.
 */
export class ImpGemError extends Error {
  override readonly name: string = 'ImpGemError';
  readonly code: string;
  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** The caller's input is wrong; `status` is the HTTP status that says so (400..499). */
export class InputError extends ImpGemError {
  override readonly name = 'InputError';
  readonly status: number;
  constructor(code: string, message: string, options?: { cause?: unknown; status?: number }) {
    super(code, message, options);
    this.status = options?.status ?? 400;
  }
}

/** Something we depend on (Redis, git remote, engine, forge, disk) failed; `retryable` says whether a retry can help. */
export class InfrastructureError extends ImpGemError {
  override readonly name = 'InfrastructureError';
  readonly retryable: boolean;
  constructor(code: string, message: string, options?: { cause?: unknown; retryable?: boolean }) {
    super(code, message, options);
    this.retryable = options?.retryable ?? false;
  }
}

/** Another worker owns the job now (its fence is higher): stop at once, dispose of nothing, write nothing more. */
export class LostJobError extends ImpGemError {
  override readonly name: string = 'LostJobError';
  constructor(what: string, message = `${what} was handed to another worker`) {
    super('job-lost', message);
  }
}

/**
 * What runs the job's tasks is away: the worker gives the job back. `gone`: nothing of it can be carried on, and the next
 * worker must start it over.
 */
export class ExecutorLostError extends LostJobError {
  override readonly name = 'ExecutorLostError';
  readonly gone: boolean;
  constructor(reason: string, { gone, cause }: { gone: boolean; cause?: unknown }) {
    super('', reason);
    this.gone = gone;
    this.cause = cause;
  }
}

/** The sentence of any thrown value, for a log line or a `cause`; never a stack. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The system's code of an error (`ENOENT`), or ''. */
export function systemCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

/** The end of a sentence that begins with the name of a file which a user gave. */
export function whyUnreadable(error: unknown): string {
  const code = systemCode(error);
  if (code === 'ENOENT' || code === 'ENOTDIR') return 'does not exist';
  if (code === 'EACCES' || code === 'EPERM') return 'may not be read by this user';
  return code === 'EISDIR' ? 'is a folder' : `cannot be read (${code})`;
}

/** What a failed file operation on `what` (`the log`) means to whoever sees it, without a path; our own errors pass. */
export function diskError(what: string, error: unknown): ImpGemError {
  if (error instanceof ImpGemError) return error;
  const code = systemCode(error);
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    const message = `The disk of the data folder is full: ${what} cannot be written until there is room.`;
    return new InfrastructureError('disk-full', message, { cause: error, retryable: true });
  }
  return new InfrastructureError('disk-error', `The disk failed at ${what} (${code || messageOf(error)}).`, {
    cause: error,
  });
}
