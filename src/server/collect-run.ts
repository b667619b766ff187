/** Gathers what a run's page shows. */
import { InputError } from '../errors.ts';
import type { Job, LogKey, Run } from '../runs/run.ts';
import { LINE_BUDGET, type LogView, type RunView, shareLines } from '../web/run-view.ts';
import type { AppDeps } from './app-deps.ts';
import { advancePosition, emptyPosition, encodePosition, type LogPosition } from './logs/log-position.ts';
import { compareLogs, selectLogs } from './logs/log-selection.ts';

/** Lines and bytes of a log in the first paint; the script fetches more. */
const TAIL_LINES = 300;
const TAIL_BYTES = 128 * 1024;

export async function collectRun(
  deps: Pick<AppDeps, 'logs' | 'artifacts'>,
  run: Run,
  query: { job?: string | undefined; attempt?: number | undefined },
): Promise<RunView> {
  const job = query.job === undefined ? mostTelling(run.jobs) : selectLogs(run, query).job;
  const attempt = query.attempt ?? job?.attempt ?? 1;
  if (job && attempt > job.attempt)
    throw new InputError('attempt-unknown', `Job ${job.name} has ${job.attempt} attempt(s).`, { status: 404 });
  const id = job?.id ?? '';
  const keys = (await deps.logs.list(run.id))
    .filter((key) => key.job === id && (id === '' || key.attempt === attempt))
    .sort(compareLogs(run));
  const counts = await Promise.all(keys.map((key) => deps.logs.countLines(key)));
  const shares = shareLines(counts, LINE_BUDGET);
  const position = emptyPosition();
  const group = `${job ? run.jobs.findIndex((each) => each.id === job.id) : 'r'}.`;
  const logs: LogView[] = [];
  for (const [index, key] of keys.entries())
    logs.push(
      await viewLog(deps.logs, key, counts[index] ?? 0, shares[index] ?? 0, position, `${group}${key.attempt}`),
    );
  return {
    run,
    ...(job ? { job } : {}),
    attempt,
    logs,
    artifacts: await deps.artifacts.manifest(run.id),
    position: encodePosition(position),
  };
}

async function viewLog(
  store: AppDeps['logs'],
  key: LogKey,
  lines: number,
  share: number,
  position: LogPosition,
  group: string,
): Promise<LogView> {
  const firstLine = lines - share;
  const { from: streamFrom } = await store.lines(key, firstLine, 0);
  if (streamFrom > 0) advancePosition(position, group, key.part, streamFrom, false);
  const wanted = Math.min(share, TAIL_LINES);
  const { from, to } = await store.lines(key, lines - wanted, wanted);
  const start = Math.max(from, to - TAIL_BYTES);
  const pieces: Buffer[] = [];
  for await (const piece of store.read(key, start, to)) pieces.push(piece);
  let tail = Buffer.concat(pieces).toString('utf8');
  // Cut inside a line: the rest of that line would pass for a whole one.
  if (start > from && tail.indexOf('\n') < tail.length - 1) tail = tail.slice(tail.indexOf('\n') + 1);
  const shown = tail.split('\n').length - (tail.endsWith('\n') || tail === '' ? 1 : 0);
  return { part: key.part, firstLine, lines, tail, tailLine: lines - shown };
}

/** The job somebody who opens the page looks for: what failed, else what runs, else what comes next, else the last. */
function mostTelling(jobs: Job[]): Job | undefined {
  const first = (...states: Job['state'][]) => jobs.find((job) => states.includes(job.state));
  return first('failed', 'errored') ?? first('running') ?? first('pending') ?? first('succeeded') ?? jobs[0];
}
