import type { Queues } from '../queue/queues.ts';
import type { ForgeName } from '../runs/event.ts';
import type { Deliveries } from './deliveries.ts';
import { eventId } from './receive.ts';

/**
 * Whether a delivery is known and nobody plans it: its server died, or Redis refused its event, between the writes of an
 * intake. Its forge had no 202 and does not try again by itself.
 */
export type IsLeft = (forge: ForgeName, delivery: string) => Promise<boolean>;

export function createIsLeft(deliveries: Pick<Deliveries, 'get'>, queues: Pick<Queues, 'hasEvent'>): IsLeft {
  return async (forge, id) => {
    const known = await deliveries.get(id, forge);
    return known?.state === 'queued' && !(await queues.hasEvent(eventId(forge, id, known.tries)));
  };
}
