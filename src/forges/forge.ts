/** One forge: verifies and parses its deliveries, sets commit statuses, says where to clone from. Knows no Redis, no express. */
import type { IncomingHttpHeaders } from 'node:http';
import type { ForgeName, PipelineEvent } from '../runs/event.ts';

export type ParsedDelivery =
  | { kind: 'event'; delivery: string; forgeEvent: string; repository: string; event: PipelineEvent }
  | { kind: 'ignored'; delivery: string; forgeEvent: string; repository?: string; reason: string };

export type StatusState = 'pending' | 'success' | 'failure' | 'error';

export interface CommitStatus {
  /** `owner/name`. */
  repository: string;
  sha: string;
  context: string;
  state: StatusState;
  /** At most 140 characters. */
  description: string;
  targetUrl: string;
}

/** What became of a post; `retryAfterMs` is from Retry-After or the rate-limit headers. */
export type PostResult =
  { ok: true } | { ok: false; retry: boolean; status?: number; message: string; retryAfterMs?: number };

export interface CloneSource {
  /** Address without credentials. */
  url: string;
  /** For HTTP basic; given to git by environment only (never argv, config files or logs). */
  credentials?: { username: string; password: string };
}

export interface Forge {
  readonly name: ForgeName;
  /**
   * Constant-time check of the signature over the raw body. Throws InputError: `signature-missing` (401),
   * `signature-invalid` (401).
   */
  verify(headers: IncomingHttpHeaders, body: Buffer): Promise<void>;
  /** Throws InputError 400 with what and where for a body that is not what the forge sends. */
  parse(headers: IncomingHttpHeaders, body: Buffer, receivedAt: string): ParsedDelivery;
  postStatus(status: CommitStatus, signal: AbortSignal): Promise<PostResult>;
  clone(owner: string, name: string): CloneSource;
  /** Address of the repository's page. */
  page(owner: string, name: string): string;
}
