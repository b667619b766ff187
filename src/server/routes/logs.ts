import type { Router } from 'express';
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

/** Logs as text, or live as server-sent events for `Accept: text/event-stream`. */
export function logRoutes(router: Router, deps: Pick<AppDeps, 'runs' | 'logs'>, closing: AbortSignal): void {
  resource(router, '/api/runs/:id/logs', {
    get: [
      async (req, res) => {
        const run = await findRun(deps.runs, req);
        const selection = selectLogs(run, {
          job: queryText(req, 'job'),
          step: queryText(req, 'step'),
          attempt: queryNumber(req, 'attempt', 1, 1_000_000),
        });
        const live = req.headers.accept?.includes('text/event-stream') === true;
        res.setHeader('Vary', 'Accept');
        res.setHeader('Cache-Control', 'no-cache');
        if (!live) {
          res.setHeader('Content-Type', 'text/plain; charset=utf-8');
          const closed = closedSignal(res);
          if (req.method !== 'HEAD')
            for await (const piece of readText(deps.logs, run, selection)) {
              await writePiece(res, piece, closed);
              if (closed.aborted) return;
            }
          res.end();
          return;
        }
        const position = decodePosition(req.get('Last-Event-ID') ?? queryText(req, 'lastEventId', 100_000) ?? '');
        const untilRunEnds = queryOption(req, 'until', ['run']) !== undefined;
        const signal = closedSignal(res, closing);
        await sendEvents(res, followRun(deps, run.id, { selection, position, untilRunEnds, signal }), signal);
      },
    ],
  });
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
