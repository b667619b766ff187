import type { Request } from 'express';
import { InputError } from '../errors.ts';
import type { RunRecord } from '../runs/run.ts';
import type { RunStore } from '../runs/store.ts';
import { pathText } from './query.ts';

/** The run named by `:id` in the path. InputError `run-unknown` (404). */
export async function findRun(runs: Pick<RunStore, 'get'>, req: Request, name = 'id'): Promise<RunRecord> {
  const id = pathText(req, name);
  // Ids are ours: whatever does not look like one is not looked up.
  const run = /^[A-Za-z0-9_-]{1,128}$/.test(id) ? await runs.get(id) : undefined;
  if (!run) throw new InputError('run-unknown', `There is no run ${id.slice(0, 100)}.`, { status: 404 });
  return run;
}
