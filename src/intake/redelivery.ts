/** Has a forge send again what it failed to deliver: it tries once by itself. For what has no such list there is catch-up. */
import { messageOf } from '../errors.ts';
import type { Forge } from '../forges/forge.ts';
import type { Redis } from '../queue/connection.ts';
import { type ForgeName, parseRepository } from '../runs/event.ts';
import type { Deliveries } from './deliveries.ts';
import type { IsLeft } from './left-deliveries.ts';

export interface RedeliveryDeps {
  redis: Redis;
  forges: Map<ForgeName, Forge>;
  deliveries: Pick<Deliveries, 'get'>;
  isLeft: IsLeft;
  /** Where people and forges reach us; undefined: any webhook counts that ends like ours. */
  publicUrl: string | undefined;
  onSent(forge: ForgeName): void;
  log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
}

/** Never throws. */
export type Redeliver = (repository: string, signal: AbortSignal) => Promise<void>;

/** One delivery is asked for so often in the time that a forge keeps it. */
const MOST = 3;
const KEEP_SECONDS = 3 * 24 * 3600;
/** A token that may not see webhooks may be given the right. */
const REFUSED_MS = 24 * 3_600_000;
const triesKey = (forge: string, guid: string): string => `ig:redelivered:${forge}:${guid}`;

export function createRedelivery(deps: RedeliveryDeps): Redeliver {
  /** Until when a repository, or a whole forge, is not asked, by a clock that nobody sets. */
  const quietUntil = new Map<string, number>();
  const isQuiet = (what: string): boolean => (quietUntil.get(what) ?? 0) > performance.now();
  const saidOf = new Set<string>();

  return async (repository, signal) => {
    const name = parseRepository(repository);
    const forge = name && deps.forges.get(name.forge);
    if (!name || !forge?.redeliver || isQuiet(name.forge) || isQuiet(repository)) return;
    try {
      const result = await forge.redeliver({
        owner: name.owner,
        name: name.name,
        isOurs: (url) => isOurs(url, name.forge, deps.publicUrl),
        maySend: async (guid) => {
          const known = await deps.deliveries.get(guid, name.forge);
          if (known && known.state !== 'failed' && !(await deps.isLeft(name.forge, guid))) return false;
          const key = triesKey(name.forge, guid);
          const [tries] = (await deps.redis.multi().incr(key).expire(key, KEEP_SECONDS).exec()) ?? [];
          return Number(tries?.[1]) <= MOST;
        },
        signal,
      });
      for (const delivery of result.sent) {
        deps.onSent(name.forge);
        deps.log.info({ repository, delivery }, 'asked the forge to send again a delivery that failed');
      }
      if (result.kind === 'later' && result.waitMs !== undefined)
        quietUntil.set(name.forge, performance.now() + result.waitMs);
      if (result.kind === 'done' || signal.aborted) return;
      if (result.kind === 'refused') quietUntil.set(repository, performance.now() + REFUSED_MS);
      if (saidOf.has(`${repository} ${result.kind}`)) return;
      saidOf.add(`${repository} ${result.kind}`);
      const why =
        result.kind === 'refused'
          ? ': the token may not read and redeliver its webhooks (right "Webhooks: read and write"); missed pushes are found by their branch heads'
          : '';
      deps.log.warn({ repository }, `failed deliveries are not asked for: ${result.message}${why}`);
    } catch (error) {
      if (!signal.aborted) deps.log.warn({ repository }, `failed deliveries are not asked for: ${messageOf(error)}`);
    }
  };
}

/** Another Imp Gem's webhook in the same repository is none of our business. */
function isOurs(url: string, forge: ForgeName, publicUrl: string | undefined): boolean {
  const path = `/webhooks/${forge}`;
  if (publicUrl !== undefined) return url === publicUrl.replace(/\/+$/, '') + path;
  return URL.canParse(url) && new URL(url).pathname.endsWith(path);
}
