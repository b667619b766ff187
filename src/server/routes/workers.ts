import type { RequestHandler, Router } from 'express';
import { InputError } from '../../errors.ts';
import type { AppDeps } from '../app-deps.ts';
import { resource } from '../resource.ts';
import { sendJson } from '../send-json.ts';

/** Workers that live; one that is drained takes no more jobs, and ends those that it has. */
export function workerRoutes(router: Router, { workers }: Pick<AppDeps, 'workers'>, mayWrite: RequestHandler): void {
  resource(router, '/api/workers', {
    get: [async (_req, res) => sendJson(res, 200, { workers: await workers.list() })],
  });
  for (const [verb, drained] of [
    ['drain', true],
    ['resume', false],
  ] as const)
    resource(router, `/api/workers/:name/${verb}`, {
      post: [
        mayWrite,
        async (req, res) => {
          const name = String(req.params['name']);
          if (!(await workers.setDrained(name, drained)))
            throw new InputError('worker-unknown', `There is no worker "${name}".`, { status: 404 });
          sendJson(res, 202, { name, drained });
        },
      ],
    });
}
