/** The commit's files into a job's workspace, tried again where that may help: nothing of the job has run by then. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { InfrastructureError } from '../errors.ts';
import { removeTree } from '../executors/remove-tree.ts';
import type { Assignment, WorkspaceSource } from './ports.ts';
import { pause } from './stop.ts';

/** Before the second and the third try: a forge that is being restarted is back by then. */
const PAUSES_MS = [500, 4000];

/** `note` hears why it is tried again. Errors: those of `create`. */
export async function fillWorkspace(
  workspaces: WorkspaceSource,
  assignment: Assignment,
  folder: string,
  stop: AbortSignal,
  note: (line: string) => void,
): Promise<{ objects?: string }> {
  if (assignment.clone.skip) return {};
  for (const pauseMs of PAUSES_MS) {
    try {
      return await workspaces.create(assignment, folder, stop);
    } catch (error) {
      if (!(error instanceof InfrastructureError) || !error.retryable || stop.aborted) throw error;
      note(`${error.message}; tried again`);
      if (!(await pause(pauseMs, stop))) throw error;
      // The folder itself stays: a container may have it mounted.
      for (const name of await readdir(folder)) await removeTree(join(folder, name));
    }
  }
  return workspaces.create(assignment, folder, stop);
}
