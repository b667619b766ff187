import { readFileSync } from 'node:fs';

/**
 * Start of a process in clock ticks since boot, which tells a reused pid apart; `alive` where /proc does not exist, ''
 * when there is no such process.
 */
export function processStart(pid: number): string {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return '';
  }
  try {
    // The name in brackets may hold spaces; after it, the start time is the 20th field.
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[19] ?? '';
  } catch {
    return 'alive';
  }
}
