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
  override readonly name = 'LostJobError';
  constructor(what: string) {
    super('job-lost', `${what} was handed to another worker`);
  }
}

/** The sentence of any thrown value, for a log line or a `cause`; never a stack. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
