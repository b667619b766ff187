/** Delivery -> durable event: verify, parse, dedupe, enqueue. What returns from here is answered 202. */
import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { InputError } from '../errors.ts';
import type { Forge } from '../forges/forge.ts';
import type { Queues } from '../queue/queues.ts';
import type { ForgeName } from '../runs/event.ts';
import type { Deliveries } from './deliveries.ts';

export interface Receipt {
  delivery: string;
  result: 'accepted' | 'duplicate' | 'ignored';
  reason?: string;
}

export interface ReceiveDeps {
  forges: Map<ForgeName, Forge>;
  deliveries: Deliveries;
  queues: Pick<Queues, 'addEvent'>;
  allowed(repository: string): boolean;
  now?: () => Date;
}

export type ReceiveDelivery = (forge: ForgeName, headers: IncomingHttpHeaders, body: Buffer) => Promise<Receipt>;

/** Throws InputError: 401 for the signature, 400 for the body, 404 for a forge that is not set up. */
export function createReceive(deps: ReceiveDeps): ReceiveDelivery {
  return async (name, headers, body) => {
    const forge = deps.forges.get(name);
    if (!forge)
      throw new InputError('forge-unknown', `No forge "${name}" is set up here; set IMPGEM_${name.toUpperCase()}_URL`, {
        status: 404,
      });
    await forge.verify(headers, body);
    const receivedAt = (deps.now?.() ?? new Date()).toISOString();
    const parsed = forge.parse(headers, body, receivedAt);
    const head = {
      id: parsed.delivery,
      forge: name,
      event: parsed.forgeEvent,
      receivedAt,
      ...(parsed.repository === undefined ? {} : { repository: parsed.repository }),
    };
    const ignore = async (reason: string): Promise<Receipt> => {
      await deps.deliveries.ignore(head, reason);
      return { delivery: parsed.delivery, result: 'ignored', reason };
    };
    if (parsed.kind === 'ignored') return ignore(parsed.reason);
    if (!deps.allowed(parsed.repository)) return ignore(`${parsed.repository} is not in IMPGEM_ALLOW_REPOSITORIES`);

    // Both at once, for speed. The event goes in even for a duplicate: planning it again changes nothing, and if the
    // first try died between the two writes (and so was never answered), the redelivery is what heals it.
    const [tries] = await Promise.all([
      deps.deliveries.accept(head),
      deps.queues.addEvent(eventId(name, parsed.delivery, 1), { event: parsed.event, tries: 1 }),
    ]);
    if (tries === 0) return { delivery: parsed.delivery, result: 'duplicate' };
    if (tries > 1) await deps.queues.addEvent(eventId(name, parsed.delivery, tries), { event: parsed.event, tries });
    return { delivery: parsed.delivery, result: 'accepted' };
  };
}

/** A BullMQ job id: no `:`, never all digits, and bounded whatever the forge sends. */
function eventId(forge: string, delivery: string, tries: number): string {
  return `${forge}-${createHash('sha256').update(delivery).digest('hex').slice(0, 24)}-${tries}`;
}
