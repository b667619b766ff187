import type { RequestHandler, Router } from 'express';
import type { ForgeName } from '../../runs/event.ts';
import type { AppDeps } from '../app-deps.ts';
import { readBody } from '../body.ts';
import { resource } from '../resource.ts';

const LIMIT = 25 * 1024 * 1024;

/** `POST /webhooks/FORGE`: size and type are checked as the body is read, then signature and content by `receive`. */
export function webhookRoutes(router: Router, deps: Pick<AppDeps, 'receive'>): void {
  const take =
    (forge: ForgeName): RequestHandler =>
    async (req, res) => {
      const answer = await deps.receive(forge, req.headers, () => readBody(req, LIMIT, 'application/json'));
      res.statusCode = 202;
      res.setHeader('Content-Type', 'application/json; charset=utf-8');
      res.end(JSON.stringify(answer));
    };
  resource(router, '/webhooks/github', { post: [take('github')] });
  resource(router, '/webhooks/gitea', { post: [take('gitea')] });
}
