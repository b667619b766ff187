import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { processStart } from './process-start.ts';

/** Names this process among all that were and are, on this machine and on others: `MACHINE.PID.START`. */
export function processMark(): string {
  return `${pidSpace()}.${process.pid}.${processStart(process.pid)}`;
}

/** Whether the process of a mark lives. Undefined for one of another machine, or of another container: it cannot be seen. */
export function markLives(mark: string): boolean | undefined {
  const [space, pid, start = ''] = mark.split('.');
  if (space !== pidSpace()) return undefined;
  return start !== '' && processStart(Number(pid)) === start;
}

/** Within which a pid means one process: this boot of this machine, and the container. */
function pidSpace(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').replaceAll(/[^0-9a-f]/g, '');
    return `${boot}-${readlinkSync('/proc/self/ns/pid').replaceAll(/\D/g, '')}`;
  } catch {
    return hostname().replaceAll('.', '-'); // No Linux.
  }
}
