/**
 * What was ever done in a network namespace, as the kernel's own counters have it, read by a process that lives in it. Two
 * equal readings: nobody sent, received or connected anything in between, and no socket is open or waits to be forgotten.
 */
import { readFileSync } from 'node:fs';

/** By file below `/proc/PID/net`: the lines that only a process in the network can change. */
const COUNTERS: Record<string, RegExp> = {
  // IPv4 whole; TCP also that of IPv6.
  snmp: /^/,
  // The kernel itself looks for routers and reports groups by ICMPv6.
  snmp6: /^(?:Udp|Icmp6(?:In|Out)Echo)/,
  dev: /^ *lo:/,
  sockstat: /^(?!sockets:)/,
  sockstat6: /^/,
  unix: /^[0-9a-f]+:/,
};
/** Of the whole machine, in between. */
const SHARED = / (?:alloc|mem|memory) \d+/g;

/** Undefined: it cannot be read. */
export function readTraces(pid: number): string | undefined {
  try {
    return Object.entries(COUNTERS)
      .flatMap(([name, wanted]) => linesOf(`/proc/${pid}/net/${name}`).filter((line) => wanted.test(line)))
      .join('\n')
      .replaceAll(SHARED, '');
  } catch {
    return undefined;
  }
}

const linesOf = (path: string): string[] => readFileSync(path, 'utf8').split('\n');
