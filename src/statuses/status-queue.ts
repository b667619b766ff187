/**
 * Delivers commit statuses: what should stand at the forge is derived from the run whenever a post is due, so posts
 * coalesce, never go backwards, and a crash loses nothing: what was posted is remembered, and the difference is due.
 */
import { createHash } from 'node:crypto';
import { messageOf } from '../errors.ts';
import type { CommitStatus, Forge } from '../forges/forge.ts';
import type { Redis } from '../queue/connection.ts';
import type { StatusPayload } from '../queue/queues.ts';
import { type ForgeName, parseRepository } from '../runs/event.ts';
import { jobOf } from '../runs/lookups.ts';
import type { Job, RunRecord } from '../runs/run.ts';
import { desiredStatus, isDue, nextRetryDelay, type Posted, statusContext } from './status-poster.ts';

const KEEP_SECONDS = 14 * 24 * 3600;
const MAX_ATTEMPTS = 30;
const POST_TIMEOUT_MS = 10_000;
const postedKey = (record: RunRecord): string => `ig:posted:${record.repository}:${record.sha}`;

export interface StatusDelivery {
  /** For the queue: ms after which to try again, or undefined when done (posted, not needed, or given up). */
  deliver(payload: StatusPayload, attempt: number): Promise<number | undefined>;
  /** Job ids ('' for the run itself) whose status is not yet what it should be. */
  due(record: RunRecord): Promise<string[]>;
  /** Names the line of posts that must stay in order. */
  line(record: RunRecord, job: Job | undefined): string;
}

export interface StatusDeps {
  redis: Redis;
  forges: Map<ForgeName, Forge>;
  getRun(id: string): Promise<RunRecord | undefined>;
  prefix: string;
  pageOf(run: string): string;
  /** Hears of every request made to a forge. */
  onPost(forge: string, outcome: 'posted' | 'retried' | 'given up'): void;
  log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
}

export function createStatusDelivery(deps: StatusDeps): StatusDelivery {
  /** Until when a forge asked us to stay away, ms since 1970. */
  const blocked = new Map<string, number>();

  const contextOf = (record: RunRecord, job: Job | undefined): string =>
    statusContext(deps.prefix, record.pipeline, job?.name);

  return {
    async deliver({ run, job: id }, attempt) {
      const record = await deps.getRun(run);
      if (!record) return undefined;
      const repository = parseRepository(record.repository);
      const forge = repository && deps.forges.get(repository.forge);
      if (!repository || !forge) return undefined;
      const job = jobOf(record, id);
      const context = contextOf(record, job);
      const want = desiredStatus(record, job);
      const text = await deps.redis.hget(postedKey(record), context);
      if (!isDue(want, text === null ? undefined : (JSON.parse(text) as Posted))) return undefined;
      const wait = (blocked.get(forge.name) ?? 0) - Date.now();
      if (wait > 0) return wait;

      const status: CommitStatus = {
        repository: `${repository.owner}/${repository.name}`,
        sha: record.sha,
        context,
        state: want.state,
        description: want.description,
        targetUrl: deps.pageOf(run),
      };
      const fields = { run, job: id, context, state: want.state };
      const result = await forge.postStatus(status, AbortSignal.timeout(POST_TIMEOUT_MS)).catch((error: unknown) => ({
        ok: false as const,
        retry: true,
        message: messageOf(error),
        retryAfterMs: undefined,
      }));
      const again = !result.ok && result.retry && attempt < MAX_ATTEMPTS;
      deps.onPost(forge.name, result.ok ? 'posted' : again ? 'retried' : 'given up');
      if (again) {
        const delay = nextRetryDelay(attempt, result.retryAfterMs);
        if (result.retryAfterMs !== undefined) blocked.set(forge.name, Date.now() + result.retryAfterMs);
        deps.log.warn(fields, `status not delivered, next try in ${Math.round(delay / 1000)} s: ${result.message}`);
        return delay;
      }
      if (result.ok) deps.log.info(fields, 'status posted');
      else deps.log.warn(fields, `status given up: ${result.message}`);
      // Remembered also when given up, so that it is not due again.
      await deps.redis
        .multi()
        .hset(postedKey(record), context, JSON.stringify(want))
        .expire(postedKey(record), KEEP_SECONDS)
        .exec();
      return undefined;
    },
    async due(record) {
      const posted = await deps.redis.hgetall(postedKey(record));
      const jobs: (Job | undefined)[] = record.jobs.length > 0 ? record.jobs : [undefined];
      return jobs
        .filter((job) => {
          const text = posted[contextOf(record, job)];
          return isDue(desiredStatus(record, job), text === undefined ? undefined : (JSON.parse(text) as Posted));
        })
        .map((job) => job?.id ?? '');
    },
    line(record, job) {
      const name = `${record.repository} ${record.sha} ${contextOf(record, job)}`;
      return createHash('sha256').update(name).digest('hex').slice(0, 32);
    },
  };
}
