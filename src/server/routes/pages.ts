import type { Router } from 'express';
import type { Assets } from '../../web/assets.ts';
import { renderListPage } from '../../web/list-page.ts';
import { renderRunPage } from '../../web/run-page.ts';
import type { AppDeps } from '../app-deps.ts';
import { collectRun } from '../collect-run.ts';
import { findRun } from '../find-run.ts';
import { pathText, queryNumber, queryText } from '../query.ts';
import { resource } from '../resource.ts';
import { sendPage } from '../send-page.ts';
import { readFilter } from './runs.ts';
import { InputError } from '../../errors.ts';

/** The pages for people, and the files that they need. */
export function pageRoutes(router: Router, deps: Pick<AppDeps, 'runs' | 'logs' | 'artifacts'>, assets: Assets): void {
  resource(router, '/', {
    get: [
      async (req, res) => {
        const filter = readFilter(req, 30);
        const { runs, next } = await deps.runs.list(filter);
        sendPage(res, 200, renderListPage(assets, { runs, filter, next }));
      },
    ],
  });
  resource(router, '/runs/:id', {
    get: [
      async (req, res) => {
        const run = await findRun(deps.runs, req);
        const query = { job: queryText(req, 'job'), attempt: queryNumber(req, 'attempt', 1, 1_000_000) };
        sendPage(res, 200, renderRunPage(assets, await collectRun(deps, run, query)));
      },
    ],
  });
  resource(router, '/assets/:name', {
    get: [
      (req, res) => {
        const name = pathText(req, 'name');
        const asset = assets.find(name);
        if (!asset) throw new InputError('not-found', `There is nothing at ${req.path}.`, { status: 404 });
        res.setHeader('Content-Type', asset.type);
        const versioned = req.originalUrl === asset.url;
        res.setHeader('Cache-Control', versioned ? 'public, max-age=31536000, immutable' : 'public, max-age=300');
        res.end(asset.body);
      },
    ],
  });
}
