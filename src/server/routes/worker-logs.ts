import type { RequestHandler, Router } from 'express';
import { InputError } from '../../errors.ts';
import { parseLogKey } from '../../logs/log-key.ts';
import type { LogKey } from '../../runs/run.ts';
import type { AppDeps } from '../app-deps.ts';
import { readBody } from '../body.ts';
import { pathText, queryNumber } from '../query.ts';
import { resource } from '../resource.ts';
import { sendJson } from '../send-json.ts';

const PIECE_LIMIT = 4 * 1024 * 1024;
const PATH = '/api/worker/logs/:run/:job/:attempt/:part';

/** The log writer of workers on other machines: length, append at an offset, close. */
export function workerLogRoutes(router: Router, deps: Pick<AppDeps, 'logs' | 'runs'>, mayWrite: RequestHandler): void {
  resource(router, PATH, {
    get: [
      mayWrite,
      async (req, res) => sendJson(res, 200, { length: await deps.logs.length(await readKey(deps, req)) }),
    ],
    put: [
      mayWrite,
      async (req, res) => {
        const key = await readKey(deps, req);
        const offset = queryNumber(req, 'offset', 0, Number.MAX_SAFE_INTEGER);
        if (offset === undefined) throw new InputError('query-invalid', 'Say with offset= where the bytes belong.');
        const bytes = await readBody(req, PIECE_LIMIT, 'application/octet-stream');
        await deps.logs.append(key, offset, bytes);
        sendJson(res, 200, { length: offset + bytes.length });
      },
    ],
  });
  resource(router, `${PATH}/close`, {
    post: [
      mayWrite,
      async (req, res) => {
        await deps.logs.close(await readKey(deps, req));
        res.status(204).end();
      },
    ],
  });
}

/** The key of the path; its run and job must exist, so that nobody fills the disk with logs of nothing. */
async function readKey(deps: Pick<AppDeps, 'runs'>, req: Parameters<RequestHandler>[0]): Promise<LogKey> {
  const [run, job, attempt, part] = ['run', 'job', 'attempt', 'part'].map((name) => pathText(req, name)) as [
    string,
    string,
    string,
    string,
  ];
  const key = parseLogKey({ run, job, attempt, part });
  const found = await deps.runs.get(key.run);
  if (!found || (key.job !== '' && !found.jobs.some((each) => each.id === key.job)))
    throw new InputError('run-unknown', `There is no job ${job} in a run ${run}.`, { status: 404 });
  return key;
}
