import type { Request, Response, Router } from 'express';
import { InfrastructureError } from '../../errors.ts';
import type { LogKey, Run } from '../../runs/run.ts';
import type { AppDeps } from '../app-deps.ts';
import { findRun } from '../find-run.ts';
import { sendEvents } from '../logs/event-stream.ts';
import { followRun } from '../logs/follow-run.ts';
import { decodePosition } from '../logs/log-position.ts';
import { compareLogs, isSelected, type LogSelection, nameLog, selectLogs } from '../logs/log-selection.ts';
import { queryNumber, queryOption, queryText } from '../query.ts';
import { resource } from '../resource.ts';
import { closedSignal, writePiece } from '../write.ts';

const MOST_LIVE = 1000;

/** Logs as text, or live as server-sent events for `Accept: text/event-stream`. */
export function logRoutes(
  router: Router,
  deps: Pick<AppDeps, 'runs' | 'logs' | 'mostLive'>,
  closing: AbortSignal,
): void {
  const live = createPlaces(deps.mostLive ?? MOST_LIVE);
  resource(router, '/api/runs/:id/logs', {
    get: [
      async (req, res) => {
        const run = await findRun(deps.runs, req);
        const selection = selectLogs(run, {
          job: queryText(req, 'job'),
          step: queryText(req, 'step'),
          attempt: queryNumber(req, 'attempt', 1, 1_000_000),
        });
        res.setHeader('Vary', 'Accept');
        res.setHeader('Cache-Control', 'no-cache');
        if (req.headers.accept?.includes('text/event-stream'))
          await live(() => sendLive(deps, run, selection, req, res, closing));
        else await sendText(deps.logs, run, selection, req, res);
      },
    ],
  });
}

/** Each holds memory for as long as its reader likes, and anybody may read: deliveries must live through a crowd of them. */
function createPlaces(most: number): (work: () => Promise<void>) => Promise<void> {
  let taken = 0;
  return async (work) => {
    if (taken >= most)
      throw new InfrastructureError('streams-crowded', `${most} live logs are being followed; try again later.`, {
        retryable: true,
      });
    taken += 1;
    try {
      await work();
    } finally {
      taken -= 1;
    }
  };
}

async function sendLive(
  deps: Pick<AppDeps, 'runs' | 'logs'>,
  run: Run,
  selection: LogSelection,
  req: Request,
  res: Response,
  closing: AbortSignal,
): Promise<void> {
  const position = decodePosition(req.get('Last-Event-ID') ?? queryText(req, 'lastEventId', 100_000) ?? '');
  const untilRunEnds = queryOption(req, 'until', ['run']) !== undefined;
  const signal = closedSignal(res, closing);
  const events = followRun(deps, run.id, { selection, position, untilRunEnds, signal });
  await sendEvents(res, req.method === 'HEAD' ? [] : events, signal);
}

async function sendText(
  logs: AppDeps['logs'],
  run: Run,
  selection: LogSelection,
  req: Request,
  res: Response,
): Promise<void> {
  res.setHeader('Content-Type', 'text/plain; charset=utf-8');
  const closed = closedSignal(res);
  for await (const piece of req.method === 'HEAD' ? [] : readText(logs, run, selection)) {
    await writePiece(res, piece, closed);
    if (closed.aborted) return;
  }
  res.end();
}

/** The selected logs one after the other; a whole run has a heading over each. */
async function* readText(logs: AppDeps['logs'], run: Run, selection: LogSelection): AsyncGenerator<Buffer | string> {
  const newest = (id: string) => run.jobs.find((job) => job.id === id)?.attempt ?? 1;
  const keys = (await logs.list(run.id)).filter((key) => isSelected(selection, key, newest)).sort(compareLogs(run));
  let lineOpen = false;
  for (const key of keys) {
    if (!selection.job) yield `${lineOpen ? '\n' : ''}${heading(run, key)}\n`;
    lineOpen = false;
    for await (const piece of logs.read(key, 0)) {
      if (piece.length > 0) lineOpen = piece[piece.length - 1] !== 0x0a;
      yield piece;
    }
  }
}

function heading(run: Run, key: LogKey): string {
  if (key.job === '') return '=== run';
  const job = run.jobs.find((each) => each.id === key.job)?.name ?? key.job;
  return `=== ${job} / ${nameLog(run, key).name}${key.attempt > 1 ? ` (attempt ${key.attempt})` : ''}`;
}
