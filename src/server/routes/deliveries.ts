import type { Router } from 'express';
import { InputError } from '../../errors.ts';
import type { AppDeps } from '../app-deps.ts';
import { pathText, queryOption } from '../query.ts';
import { resource } from '../resource.ts';
import { sendJson } from '../send-json.ts';

const FORGES = ['github', 'gitea'] as const;

/** `GET /api/deliveries/:id`: what became of one webhook request, by the forge's own id. `?forge=` where two use the same. */
export function deliveryRoutes(router: Router, deps: Pick<AppDeps, 'runs'>): void {
  resource(router, '/api/deliveries/:id', {
    get: [
      async (req, res) => {
        const id = pathText(req, 'id');
        const forge = queryOption(req, 'forge', FORGES);
        const delivery = /^[\x21-\x7e]{1,200}$/.test(id) ? await deps.runs.delivery(id, forge) : undefined;
        if (!delivery)
          throw new InputError('delivery-unknown', `There is no delivery ${id.slice(0, 100)}.`, { status: 404 });
        sendJson(res, 200, delivery);
      },
    ],
  });
}
