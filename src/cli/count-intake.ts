/** What the metrics say of deliveries: how they were answered, and what became of them. */
import { InputError } from '../errors.ts';
import type { Deliveries } from '../intake/deliveries.ts';
import type { ReceiveDelivery } from '../intake/receive.ts';
import type { AppDeps } from '../server/app-deps.ts';
import type { Metrics } from '../server/metrics.ts';

/** Counts deliveries by what became of them. */
export function countEnds(metrics: Metrics, deliveries: Deliveries): Deliveries {
  return {
    ...deliveries,
    async conclude(id, tries, end) {
      metrics.count('impgem_deliveries_total', { state: end.state });
      await deliveries.conclude(id, tries, end);
    },
  };
}

/** Counts webhook requests by what was answered, those included whose body is not taken. */
export function countReceipts(metrics: Metrics, receive: ReceiveDelivery): AppDeps['receive'] {
  return async (forge, headers, readBody) => {
    try {
      const receipt = await receive(forge, headers, await readBody());
      metrics.count('impgem_intake_total', { forge, result: receipt.result });
      return receipt;
    } catch (error) {
      metrics.count('impgem_intake_total', { forge, result: error instanceof InputError ? 'refused' : 'unavailable' });
      throw error;
    }
  };
}
