/**
 * Delivers commit statuses: what should stand at the forge is derived from the run whenever a post is due, so posts
 * coalesce, never go backwards, and a crash loses nothing: what was posted is remembered, and the difference is due.
 */
import { createHash } from 'node:crypto';
import type { CommitStatus, Forge } from '../forges/forge.ts';
import { FORGE_TIMEOUT_MS } from '../forges/post-status.ts';
import type { Redis } from '../queue/connection.ts';
import type { StatusPayload } from '../queue/queues.ts';
import { type ForgeName, parseRepository } from '../runs/event.ts';
import { jobOf } from '../runs/lookups.ts';
import type { Job, RunRecord } from '../runs/run.ts';
import { desiredStatus, isDue, nextRetryDelay, type Posted, statusContext, type Wanted } from './status-poster.ts';

const KEEP_SECONDS = 14 * 24 * 3600;
/** A forge that is away for longer than this after a run ended is not told any more. */
const GIVE_UP_MS = 24 * 3600_000;
const postedKey = (record: RunRecord): string => `ig:posted:${record.repository}:${record.sha}`;

export interface StatusDelivery {
  /** For the queue: ms after which to try again, or undefined when done (posted, not needed, or given up). */
  deliver(payload: StatusPayload, attempt: number): Promise<number | undefined>;
  /** Job ids ('' for the run itself) whose status is not yet what it should be. */
  due(record: RunRecord): Promise<string[]>;
  /** Names the line of posts of one run and context, of which one at a time is under way. */
  line(record: RunRecord, job: Job | undefined): string;
}

// Remembers what was posted, unless it is not any more what it was before; then gives what it is.
const REMEMBER = `
local now = redis.call('HGET', KEYS[1], ARGV[1])
if now and now ~= ARGV[2] then return now end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('EXPIRE', KEYS[1], ${KEEP_SECONDS})
return false
`;

export interface StatusDeps {
  redis: Redis;
  forges: Map<ForgeName, Forge>;
  getRun(id: string): Promise<RunRecord | undefined>;
  /** Puts into the queue what is due again. */
  enqueue(line: string, payload: StatusPayload): Promise<void>;
  prefix: string;
  pageOf(run: string): string;
  /** Hears of every request made to a forge. */
  onPost(forge: string, outcome: 'posted' | 'retried' | 'given up'): void;
  log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
}

export function createStatusDelivery(deps: StatusDeps): StatusDelivery {
  /**
   * Until when a forge is left alone, by a clock that nobody sets: it asked for that, or gave no answer, so many times
   * one after the other.
   */
  const blocked = new Map<string, { until: number; silences: number }>();

  const contextOf = (record: RunRecord, job: Job | undefined): string =>
    statusContext(deps.prefix, record.pipeline, job?.name);
  const lineOf = (record: RunRecord, job: Job | undefined): string =>
    createHash('sha256')
      .update(`${record.id} ${contextOf(record, job)}`)
      .digest('hex')
      .slice(0, 32);

  deps.redis.defineCommand('igRememberPost', { lua: REMEMBER });
  const { igRememberPost } = deps.redis as unknown as { igRememberPost: Remember };
  const remember = igRememberPost.bind(deps.redis);

  /**
   * Remembers what was posted. Was another post of the same context under way beside it (of another run; of a server that
   * stood still), nobody knows which one the forge took last: then whoever is right posts again. True: that is this one.
   */
  const settle = async (record: RunRecord, context: string, before: string | null, want: Wanted): Promise<boolean> => {
    let value: Posted = want;
    for (let seen = before ?? ''; ;) {
      const now = await remember(1, postedKey(record), context, seen, JSON.stringify(value));
      if (now === null) break;
      const other = JSON.parse(now) as Posted;
      const ours = other.run === want.run || isDue(want, other);
      value = { ...(ours ? want : other), state: 'unknown' };
      seen = now;
    }
    if (value.state !== 'unknown') return false;
    if (value.run === want.run) return true;
    const winner = await deps.getRun(value.run);
    const job = winner?.jobs.find((one) => contextOf(winner, one) === context);
    if (winner) await deps.enqueue(lineOf(winner, job), { run: winner.id, job: job?.id ?? '' });
    return false;
  };

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
      const block = blocked.get(forge.name) ?? { until: 0, silences: 0 };
      const wait = block.until - performance.now();
      if (wait > 0) return wait;
      // One that was silent gets one request to see whether it is back: the places are for the other forge.
      if (block.silences > 0) blocked.set(forge.name, { ...block, until: performance.now() + FORGE_TIMEOUT_MS });

      const status: CommitStatus = {
        repository: `${repository.owner}/${repository.name}`,
        sha: record.sha,
        context,
        state: want.state,
        description: want.description,
        targetUrl: deps.pageOf(run),
      };
      const fields = { run, job: id, context, state: want.state };
      const result = await forge.postStatus(status);
      const again = !result.ok && result.retry && !isLongOver(record);
      deps.onPost(forge.name, result.ok ? 'posted' : again ? 'retried' : 'given up');
      const isSilent = !result.ok && result.retry && result.status === undefined;
      const silences = isSilent ? block.silences + 1 : 0;
      const retryAfterMs = result.ok ? undefined : result.retryAfterMs;
      const leaveMs = isSilent || retryAfterMs !== undefined ? nextRetryDelay(silences, retryAfterMs) : undefined;
      if (leaveMs !== undefined) blocked.set(forge.name, { until: performance.now() + leaveMs, silences });
      else if (blocked.get(forge.name)?.silences !== 0) blocked.delete(forge.name);
      if (again) {
        const delay = leaveMs ?? nextRetryDelay(attempt);
        deps.log.warn(fields, `status not delivered, next try in ${Math.round(delay / 1000)} s: ${result.message}`);
        return delay;
      }
      if (result.ok) deps.log.info(fields, 'status posted');
      else deps.log.warn(fields, `status given up: ${result.message}`);
      // Remembered also when given up, so that it is not due again.
      return (await settle(record, context, text, want)) ? 0 : undefined;
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
    line: lineOf,
  };
}

type Remember = (count: number, key: string, context: string, before: string, posted: string) => Promise<string | null>;

function isLongOver({ endedAt }: RunRecord): boolean {
  return endedAt !== undefined && Date.now() - Date.parse(endedAt) > GIVE_UP_MS;
}
