/** The HTTP server, wired: one file a resource under routes/. */
import express, { type Express } from 'express';
import type { AppDeps } from './app-deps.ts';
import { requireToken } from './bearer.ts';
import { closingSignal } from './closing.ts';
import { errorHandler, notFound, sendProblem } from './problem.ts';
import { artifactRoutes } from './routes/artifacts.ts';
import { deliveryRoutes } from './routes/deliveries.ts';
import { healthRoutes } from './routes/health.ts';
import { logRoutes } from './routes/logs.ts';
import { runRoutes } from './routes/runs.ts';
import { webhookRoutes } from './routes/webhooks.ts';
import { workerLogRoutes } from './routes/worker-logs.ts';
import { dataHeaders } from './security-headers.ts';

export function createApp(deps: AppDeps): Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('query parser', 'simple');

  const mayWrite = requireToken([deps.apiToken], 'IMPGEM_API_TOKEN');
  const mayMeasure = requireToken([deps.apiToken, deps.metricsToken], 'IMPGEM_METRICS_TOKEN or IMPGEM_API_TOKEN');

  // Webhooks come first: nothing stands between a delivery and the queue.
  webhookRoutes(app, deps);
  app.use(dataHeaders);
  healthRoutes(app, deps, mayMeasure);
  runRoutes(app, deps, mayWrite);
  deliveryRoutes(app, deps);
  logRoutes(app, deps, closingSignal(app));
  artifactRoutes(app, deps);
  workerLogRoutes(app, deps, mayWrite);
  app.use(notFound);
  app.use(errorHandler(deps.log, (req, res, { status, code, detail }) => sendProblem(req, res, status, code, detail)));
  return app;
}
