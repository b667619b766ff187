import { InputError } from '../../errors.ts';
import { isFinal, type Run, type State } from '../../runs/run.ts';
import type { AppDeps } from '../app-deps.ts';
import { followedLogs, type LogEvent } from './followed-logs.ts';
import { createInbox } from './inbox.ts';
import type { LogPosition } from './log-position.ts';
import type { LogSelection } from './log-selection.ts';
import { createStateChanges, type StateChange } from './state-changes.ts';

export type FollowEvent =
  | { event: 'log'; id: string; data: LogEvent }
  | { event: 'state'; data: StateChange }
  | { event: 'ping' }
  | { event: 'end'; data: { state: State } };

export interface FollowOptions {
  selection: LogSelection;
  position: LogPosition;
  /** Go on until the run is over, although only one job's log was asked for. */
  untilRunEnds: boolean;
  signal: AbortSignal;
}

/** Silence after which a ping is sent, and the store is looked at in case the feed lost a word. */
const PING_MS = 15_000;
/** A log that nobody closed (its worker was lost) holds up the end no longer than this. */
const GRACE_MS = 1_000;

/**
 * A run as it happens: the state, the logs so far, then whatever comes, until it is over. Reads the store only as fast
 * as it is asked for the next event, and keeps no more than one piece of a log.
 */
export async function* followRun(
  deps: Pick<AppDeps, 'runs' | 'logs'>,
  id: string,
  { selection, position, untilRunEnds, signal }: FollowOptions,
): AsyncGenerator<FollowEvent> {
  const inbox = createInbox();
  // First listen, then look: what happens in between is then heard, not lost.
  await deps.runs.subscribe(id, inbox.put, signal);
  let run = await getRun(deps, id);
  const changes = createStateChanges();
  const logs = followedLogs(deps.logs, run, selection, position);
  await logs.scan();
  let graceEnds: number | undefined;
  for (;;) {
    const change = changes(run);
    if (change) yield { event: 'state', data: change };
    for await (const { id: at, data } of logs.unread()) yield { event: 'log', id: at, data };
    if (signal.aborted) return;
    const end = endState(run, selection, untilRunEnds);
    if (end) graceEnds ??= performance.now() + (logs.open() ? GRACE_MS : 0);
    const left = graceEnds === undefined ? PING_MS : graceEnds - performance.now();
    const heard = await inbox.wait(Math.max(0, left), signal);
    const news = inbox.take();
    for (const message of news.logs) logs.grow(message);
    if (news.run || !heard) run = await getRun(deps, id);
    if (heard) {
      if (graceEnds !== undefined && !logs.open()) graceEnds = performance.now();
      continue;
    }
    await logs.scan();
    if (end) {
      for await (const { id: at, data } of logs.unread()) yield { event: 'log', id: at, data };
      yield { event: 'end', data: { state: end } };
      return;
    }
    yield { event: 'ping' };
  }
}

async function getRun(deps: Pick<AppDeps, 'runs'>, id: string): Promise<Run> {
  const run = await deps.runs.get(id);
  if (!run) throw new InputError('run-unknown', `There is no run ${id}.`, { status: 404 });
  return run;
}

/** The state to end with; undefined while there may be more. */
function endState(run: Run, selection: LogSelection, untilRunEnds: boolean): State | undefined {
  if (!selection.job || untilRunEnds) return isFinal(run.state) ? run.state : undefined;
  const job = run.jobs.find((each) => each.id === selection.job?.id);
  if (!job) return run.state;
  const past = selection.attempt !== undefined && selection.attempt < job.attempt;
  return past || isFinal(job.state) ? job.state : undefined;
}
