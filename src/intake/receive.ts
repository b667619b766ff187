/** Delivery -> durable event: verify, parse, dedupe, enqueue. What returns from here is answered 202. */
import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { InputError } from '../errors.ts';
import type { Forge } from '../forges/forge.ts';
import type { EventTurns } from '../queue/event-turns.ts';
import type { Queues } from '../queue/queues.ts';
import type { ForgeName, PipelineEvent } from '../runs/event.ts';
import type { Deliveries, DeliveryHead } from './deliveries.ts';
import type { Journal } from './journal.ts';
import type { Push, Pushes } from './pushes.ts';

export interface Receipt {
  delivery: string;
  result: 'accepted' | 'duplicate' | 'ignored';
  reason?: string;
}

/** What is kept of an accepted delivery until it is planned. */
export interface AcceptedDelivery {
  head: DeliveryHead;
  event: PipelineEvent;
}

/** Whether a line of the journal is one, as far as its replay depends on it. */
export function isAcceptedDelivery(value: unknown): value is AcceptedDelivery {
  const { head, event } = (value ?? {}) as { head?: { id?: unknown }; event?: { repository?: unknown } };
  return typeof head?.id === 'string' && typeof event?.repository === 'string';
}

export interface ReceiveDeps {
  forges: Map<ForgeName, Forge>;
  deliveries: Deliveries;
  queues: Pick<Queues, 'addEvent'>;
  turns: EventTurns;
  pushes: Pick<Pushes, 'tell'>;
  journal: Pick<Journal<AcceptedDelivery>, 'append' | 'pending'>;
  allowed(repository: string): boolean;
  now?: () => Date;
}

export type ReceiveDelivery = (forge: ForgeName, headers: IncomingHttpHeaders, body: Buffer) => Promise<Receipt>;

/**
 * Throws InputError: 401 for the signature, 400 for the body, 404 for a forge that is not set up; InfrastructureError when
 * neither Redis nor the journal could take it.
 */
export function createReceive(deps: ReceiveDeps): ReceiveDelivery {
  const enqueue = createEnqueue(deps);
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
    const ignore = async (reason: string, push?: Push): Promise<Receipt> => {
      // It leads to nothing, so that Redis is away is no reason to refuse it. Catch-up shall not take a push for missed.
      await Promise.allSettled([deps.deliveries.ignore(head, reason), push && deps.pushes.tell(push, parsed.delivery)]);
      return { delivery: parsed.delivery, result: 'ignored', reason };
    };
    if (parsed.kind === 'ignored') return ignore(parsed.reason, parsed.push);
    if (!deps.allowed(parsed.repository)) return ignore(`${parsed.repository} is not in IMPGEM_ALLOW_REPOSITORIES`);

    const entry: AcceptedDelivery = { head, event: parsed.event };
    const accepted: Receipt = { delivery: parsed.delivery, result: 'accepted' };
    // Once something is in the journal everything goes there, or a later push would pass an earlier one.
    if (deps.journal.pending() > 0) {
      await deps.journal.append(entry);
      return accepted;
    }
    try {
      return (await enqueue(entry)) ? accepted : { delivery: parsed.delivery, result: 'duplicate' };
    } catch {
      // Whatever Redis did of it is done again from the journal, to no further effect.
      await deps.journal.append(entry);
      return accepted;
    }
  };
}

/** Puts an event into the queue and remembers its delivery. False: it was seen before and did not fail. */
export function createEnqueue(
  deps: Pick<ReceiveDeps, 'queues' | 'turns' | 'pushes'> & { deliveries: Pick<Deliveries, 'accept'> },
) {
  return async ({ head, event }: AcceptedDelivery): Promise<boolean> => {
    const { turn, kept } = deps.turns.take(event.repository);
    // All at once, for speed. The event goes in even for a duplicate: planning it again changes nothing, and if the
    // first try died between the two writes (and so was never answered), a redelivery heals it, or catch-up does.
    const [{ tries, duplicate }] = await Promise.all([
      deps.deliveries.accept(head),
      kept,
      event.kind === 'push' && deps.pushes.tell(event, head.id),
      deps.queues.addEvent(eventId(head.forge, head.id, 1), { event, tries: 1, turn }),
    ]);
    if (tries > 1) await deps.queues.addEvent(eventId(head.forge, head.id, tries), { event, tries, turn });
    return !duplicate;
  };
}

/** A BullMQ job id: no `:`, never all digits, and bounded whatever the forge sends. */
export function eventId(forge: string, delivery: string, tries: number): string {
  return `${forge}-${createHash('sha256').update(delivery).digest('hex').slice(0, 24)}-${tries}`;
}
