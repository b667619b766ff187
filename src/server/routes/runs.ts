import type { RequestHandler, Router } from 'express';
import { InputError } from '../../errors.ts';
import { parseRepository } from '../../runs/event.ts';
import { type RunRecord, STATES } from '../../runs/run.ts';
import type { RerunOptions, RunFilter } from '../../runs/store.ts';
import type { AppDeps } from '../app-deps.ts';
import { allowOnly, readJson, requireText } from '../body.ts';
import { findRun } from '../find-run.ts';
import { presentRun } from '../present-run.ts';
import { queryNumber, queryOption, queryText } from '../query.ts';
import { resource } from '../resource.ts';
import { sendJson } from '../send-json.ts';

const REPOSITORY_FORM = 'must be forge/owner/name, as in gitea/ann/app.';

/** Runs: list, one, start, re-run, cancel. */
export function runRoutes(router: Router, deps: Pick<AppDeps, 'runs' | 'trigger'>, mayWrite: RequestHandler): void {
  resource(router, '/api/runs', {
    get: [
      async (req, res) => {
        const filter = readFilter(req, 100);
        // Nothing at all is what a typo would find: whoever scripts is told.
        if (filter.repository !== undefined && !parseRepository(filter.repository))
          throw new InputError('query-invalid', `repository ${REPOSITORY_FORM}`);
        const { runs, next } = await deps.runs.list(filter);
        sendJson(res, 200, { runs: runs.map(presentRun), ...(next === undefined ? {} : { next }) });
      },
    ],
    post: [
      mayWrite,
      async (req, res) => {
        const body = await readJson(req);
        allowOnly(body, ['repository', 'ref']);
        const repository = requireText(body, 'repository', 220);
        const ref = requireText(body, 'ref', 300);
        if (!parseRepository(repository))
          throw new InputError('repository-invalid', `repository ${REPOSITORY_FORM}`, { status: 422 });
        const runs = await deps.trigger(repository, ref);
        const [first] = runs;
        if (!first)
          throw new InputError('pipeline-missing', `There is no pipeline file in ${repository} at ${ref}.`, {
            status: 422,
          });
        res.setHeader('Location', `/api/runs/${first.id}`);
        sendJson(res, 201, { ...presentRun(first), runs: runs.map((run) => run.id) });
      },
    ],
  });

  resource(router, '/api/runs/:id', {
    get: [async (req, res) => sendJson(res, 200, presentRun(await findRun(deps.runs, req)))],
  });

  resource(router, '/api/runs/:id/rerun', {
    post: [
      mayWrite,
      async (req, res) => {
        const run = await findRun(deps.runs, req);
        const created = await deps.runs.rerun(run.id, readRerun(await readJson(req), run));
        res.setHeader('Location', `/api/runs/${created.id}`);
        sendJson(res, 201, presentRun(created));
      },
    ],
  });

  resource(router, '/api/runs/:id/cancel', {
    post: [
      mayWrite,
      async (req, res) => {
        const run = await findRun(deps.runs, req);
        allowOnly(await readJson(req), []);
        // Cancelling what is over changes nothing and is no mistake: whoever cancels cannot know what just ended.
        const cancelled = await deps.runs.cancel(run.id, 'cancelled by a person');
        sendJson(res, cancelled ? 202 : 200, presentRun(await findRun(deps.runs, req)));
      },
    ],
  });
}

/** The filter in the query. InputError 400 for nonsense. */
export function readFilter(req: Parameters<RequestHandler>[0], defaultLimit: number): RunFilter {
  const filter: RunFilter = { limit: queryNumber(req, 'limit', 1, 100) ?? defaultLimit };
  const repository = queryText(req, 'repository');
  const branch = queryText(req, 'branch');
  const sha = queryText(req, 'sha');
  const state = queryOption(req, 'state', STATES);
  const cursor = queryText(req, 'cursor');
  if (repository !== undefined) filter.repository = repository;
  if (branch !== undefined) filter.branch = branch;
  if (sha !== undefined) filter.sha = sha;
  if (state !== undefined) filter.state = state;
  if (cursor !== undefined) filter.cursor = cursor;
  return filter;
}

function readRerun(body: Record<string, unknown>, run: RunRecord): RerunOptions {
  allowOnly(body, ['jobs']);
  const jobs = body['jobs'] === undefined ? 'all' : body['jobs'];
  if (jobs === 'all' || jobs === 'failed') return { jobs };
  const job = typeof jobs === 'object' && jobs !== null && 'job' in jobs ? jobs.job : undefined;
  if (typeof job !== 'string')
    throw new InputError('field-invalid', 'jobs must be "all", "failed" or {"job": ID}.', { status: 422 });
  if (!run.jobs.some((each) => each.id === job))
    throw new InputError('job-unknown', `Run ${run.id} has no job ${JSON.stringify(job.slice(0, 100))}.`, {
      status: 422,
    });
  return { jobs: { job } };
}
