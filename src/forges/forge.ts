/** One forge: verifies and parses its deliveries, sets commit statuses, says where to clone from. Knows no Redis, no express. */
import type { IncomingHttpHeaders } from 'node:http';
import type { ForgeName, PipelineEvent } from '../runs/event.ts';

export type ParsedDelivery =
  | { kind: 'event'; delivery: string; forgeEvent: string; repository: string; event: PipelineEvent }
  /** `push`: one that is told of so and asks for no run. */
  | {
      kind: 'ignored';
      delivery: string;
      forgeEvent: string;
      repository?: string;
      reason: string;
      push?: Pick<PipelineEvent, 'repository' | 'ref' | 'sha'>;
    };

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

/** What became of a post; `status` is absent when no answer came, `retryAfterMs` is from Retry-After or the rate-limit headers. */
export type PostResult =
  { ok: true } | { ok: false; retry: boolean; status?: number; message: string; retryAfterMs?: number };

export interface RedeliverRequest {
  owner: string;
  name: string;
  /** Whether a webhook of this address is ours. */
  isOurs: (url: string) => boolean;
  /** Asked before a delivery of this id is sent again. */
  maySend: (guid: string) => Promise<boolean>;
  signal: AbortSignal;
}

/**
 * `sent`: ids of deliveries that are on their way again. `refused`: the token does not allow it; `later`: it may go
 * another time, after `waitMs` if given, for the whole forge.
 */
export type RedeliverResult =
  | { kind: 'done'; sent: string[] }
  | { kind: 'refused'; message: string; sent: string[] }
  | { kind: 'later'; message: string; sent: string[]; waitMs?: number };

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
  /** Never throws, and does not take longer than some seconds. */
  postStatus(status: CommitStatus): Promise<PostResult>;
  /** Has the forge send again what it failed to deliver to us. Never throws. Absent: it has no API for that, or we no token. */
  redeliver?(request: RedeliverRequest): Promise<RedeliverResult>;
  clone(owner: string, name: string): CloneSource;
  /** Address of the repository's page. */
  page(owner: string, name: string): string;
}
