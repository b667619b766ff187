import type { RequestHandler, Router } from 'express';
import type { AppDeps } from '../app-deps.ts';
import { resource } from '../resource.ts';
import { sendJson } from '../send-json.ts';

/** For whoever watches the server: alive, ready (503 with the reasons when not), metrics (with a token). */
export function healthRoutes(
  router: Router,
  deps: Pick<AppDeps, 'ready' | 'metrics'>,
  mayMeasure: RequestHandler,
): void {
  resource(router, '/livez', { get: [(_req, res) => sendJson(res, 200, { ok: true })] });
  resource(router, '/readyz', {
    get: [
      async (_req, res) => {
        const answer = await deps.ready();
        sendJson(res, answer.ok ? 200 : 503, answer);
      },
    ],
  });
  resource(router, '/metrics', {
    get: [
      mayMeasure,
      async (_req, res) => {
        const text = await deps.metrics();
        res.setHeader('Content-Type', 'text/plain; version=0.0.4; charset=utf-8');
        res.setHeader('Cache-Control', 'no-store');
        res.end(text);
      },
    ],
  });
}
