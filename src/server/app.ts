/** The HTTP server, wired: one file a resource under routes/. */
import { STATUS_CODES } from 'node:http';
import express, { type Express, type Request } from 'express';
import type { AppDeps } from './app-deps.ts';
import { requireToken } from './bearer.ts';
import { closingSignal } from './closing.ts';
import { requireKnownHost } from './known-host.ts';
import { errorHandler, notFound, sendProblem } from './problem.ts';
import { artifactRoutes } from './routes/artifacts.ts';
import { deliveryRoutes } from './routes/deliveries.ts';
import { pageRoutes } from './routes/pages.ts';
import { healthRoutes } from './routes/health.ts';
import { logRoutes } from './routes/logs.ts';
import { runRoutes } from './routes/runs.ts';
import { webhookRoutes } from './routes/webhooks.ts';
import { workerArtifactRoutes } from './routes/worker-artifacts.ts';
import { workerRoutes } from './routes/workers.ts';
import { workerLogRoutes } from './routes/worker-logs.ts';
import { dataHeaders } from './security-headers.ts';
import { sendPage } from './send-page.ts';
import { openAssets } from '../web/assets.ts';
import { renderProblemPage } from '../web/problem-page.ts';

export function createApp(deps: AppDeps): Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('query parser', 'simple');

  const assets = openAssets(deps.assets);
  const mayWrite = requireToken([deps.apiToken], 'IMPGEM_API_TOKEN');
  const mayMeasure = requireToken([deps.apiToken, deps.metricsToken], 'IMPGEM_METRICS_TOKEN or IMPGEM_API_TOKEN');

  // Webhooks come first: nothing stands between a delivery and the queue.
  webhookRoutes(app, deps);
  app.use(dataHeaders);
  healthRoutes(app, deps, mayMeasure);
  app.use(requireKnownHost(() => deps.publicUrl()));
  runRoutes(app, deps, mayWrite);
  deliveryRoutes(app, deps);
  workerRoutes(app, deps, mayWrite);
  logRoutes(app, deps, closingSignal(app));
  artifactRoutes(app, deps);
  workerLogRoutes(app, deps, mayWrite);
  workerArtifactRoutes(app, deps, mayWrite);
  pageRoutes(app, deps, assets);
  app.use(notFound);
  app.use(
    errorHandler(deps.log, (req, res, { status, code, detail }) => {
      if (wantsPage(req))
        sendPage(res, status, renderProblemPage(assets, status, STATUS_CODES[status] ?? 'Error', detail));
      else sendProblem(req, res, status, code, detail);
    }),
  );
  return app;
}

/** A browser outside the API is shown a page; scripts get problem details. */
function wantsPage(req: Request): boolean {
  return !req.path.startsWith('/api/') && req.headers.accept?.includes('text/html') === true;
}
