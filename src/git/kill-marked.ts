import { readdirSync, readFileSync } from 'node:fs';

/** Name of the variable that every git process of ours, and whatever it starts, carries. */
export const MARKER = 'IMPGEM_GIT_CALL';

/**
 * Kills every process that carries the marker: git leaves its transport helpers (`git-remote-https`, `ssh`) behind when
 * it is killed, and they hold the connection that hangs. Does nothing where there is no /proc; there the transport's own
 * time limit ends them.
 */
export function killMarked(marker: string): void {
  // Twice: a process that forked while the first round read on.
  for (let round = 0; round < 2; round++)
    for (const pid of processesWith(`${MARKER}=${marker}`)) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        continue; // It ended by itself.
      }
    }
}

function processesWith(entry: string): number[] {
  let names: string[];
  try {
    names = readdirSync('/proc');
  } catch {
    return [];
  }
  return names.filter((name) => /^\d+$/.test(name) && environmentOf(name).includes(entry)).map(Number);
}

function environmentOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
  } catch {
    return []; // Ended meanwhile, or not ours to read.
  }
}
