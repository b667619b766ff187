/** Names of control groups carry the owner, so that a reaper can tell whose they are. */
import type { JobOwner } from '../executor.ts';

/** `RUN.JOB.ATTEMPT.TASK`, each part escaped. */
export function groupName(owner: JobOwner, task: string): string {
  return [owner.run, owner.job, String(owner.attempt), task].map(escape).join('.');
}

/** The owner of a name that groupName gave, else undefined. */
export function ownerOf(name: string): JobOwner | undefined {
  const [run, job, attempt, task] = name.split('.');
  if (run === undefined || job === undefined || task === undefined || !/^\d+$/.test(attempt ?? '')) return undefined;
  return { run: unescape(run), job: unescape(job), attempt: Number(attempt) };
}

function escape(part: string): string {
  return [...Buffer.from(part)]
    .map((byte) => String.fromCharCode(byte))
    .map((char) => (/[A-Za-z0-9_-]/.test(char) ? char : `%${char.charCodeAt(0).toString(16).padStart(2, '0')}`))
    .join('');
}

function unescape(part: string): string {
  return decodeURIComponent(part);
}
