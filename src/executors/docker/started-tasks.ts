/** The record, in the job's folder, of tasks whose script was handed over: what a later worker needs to go on with them. */
import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface StartedTask {
  task: string;
  containerId: string;
  /** Number of the step folder. */
  number: number;
  nonce: string;
}

/** Synchronous and without fsync: it stands between two steps, and after a loss of power the containers are gone anyway. */
export function recordStarted(jobFolder: string, started: StartedTask): void {
  appendFileSync(join(jobFolder, 'docker', 'started.jsonl'), `${JSON.stringify(started)}\n`, { mode: 0o600 });
}

/** Oldest first. */
export function readStarted(jobFolder: string): StartedTask[] {
  let text: string;
  try {
    text = readFileSync(join(jobFolder, 'docker', 'started.jsonl'), 'utf8');
  } catch {
    return []; // Nothing was started.
  }
  const found: StartedTask[] = [];
  // A worker that was killed while it wrote may leave half a line: that script was never handed over.
  for (const line of text.split('\n').slice(0, -1)) found.push(JSON.parse(line) as StartedTask);
  return found;
}
