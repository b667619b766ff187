/**
 * A network of a job's own: its loopback is shared by the job's steps and services and by nobody else, and what it sends
 * to the world goes through slirp4netns, a process of ours on the host. The host's loopback and abstract sockets are not
 * in it; the host's own addresses (what comes from slirp4netns comes from the host itself, past its packet filter) and
 * those where clouds give out credentials lead nowhere. Other private ranges stay open, as they are to a container: the
 * forge, registries and package mirrors live there.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import type { Readable, Writable } from 'node:stream';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { InfrastructureError, messageOf } from '../../errors.ts';
import { findProgram } from './bubblewrap.ts';
import { readTraces } from './network-traces.ts';

export interface JobNetwork {
  /** Open descriptors of its namespaces; `user` where a normal user made it. */
  network: number;
  user: number | undefined;
  /** The resolv.conf that holds in it. */
  resolver: string;
  isAlive: () => boolean;
  /** Nothing was ever sent or received in it and no socket is open: it is as good as new. */
  isUntouched: () => boolean;
  /** All of it is gone once nothing runs in it. */
  close: () => Promise<void>;
}

export interface NetworkTools {
  unshare: string;
  nsenter: string;
  prlimit: string;
  ip: string;
  slirp: string;
}

const PACKAGES = {
  unshare: 'util-linux',
  nsenter: 'util-linux',
  prlimit: 'util-linux',
  ip: 'iproute2',
  slirp4netns: 'slirp4netns',
};

/** The end of a range for benchmarks: hosts and the services that a job may want have other addresses. */
const RANGE = '198.19.255.0/25';
const NAMESERVER = '198.19.255.3';
/** Link-local, and what Azure, Alibaba and Oracle have instead. */
const NOWHERE = ['169.254.0.0/16', '168.63.129.16', '100.100.100.200', '192.0.0.192'];
/** It works for a stranger and is in no control group of the step: past these it is the job's network that suffers. */
const SLIRP_LIMITS = ['--nofile=4096', `--data=${512 * 1024 ** 2}`, '--core=0'];
const START_MS = 10_000;
/** A resolver asks no more than three. */
const NAMESERVERS = 3;

/** What a network needs, or a sentence that says what to install. */
export function findNetworkTools(): NetworkTools | string {
  const found = Object.keys(PACKAGES).map((name) => findProgram(name));
  const missing = Object.entries(PACKAGES).filter((_, at) => found[at] === undefined);
  const [unshare, nsenter, prlimit, ip, slirp] = found;
  if (unshare && nsenter && prlimit && ip && slirp) return { unshare, nsenter, prlimit, ip, slirp };
  const packages = [...new Set(missing.map(([, name]) => name))].join(' ');
  return `${missing.map(([name]) => name).join(', ')} not installed (apt-get install ${packages})`;
}

let made = 0;

/** Error `sandbox-network`. `folder` is private to this process; `closed`: IPv4 addresses and ranges that lead nowhere. */
export async function createNetwork(
  tools: NetworkTools,
  folder: string,
  closed = [...NOWHERE, ...ownAddresses()],
): Promise<JobNetwork> {
  made += 1;
  const resolver = join(folder, `resolv-${made}.conf`);
  const asUser = process.getuid?.() !== 0;
  let holder: Helper | undefined;
  let slirp: Helper | undefined;
  const opened: number[] = [];
  const close = async (): Promise<void> => {
    for (const fd of opened.splice(0)) closeSync(fd);
    await Promise.all([holder?.end(), slirp?.end(), rm(resolver, { force: true })]);
  };
  try {
    // A process that lives in the namespaces, so that they can be opened and looked into. It ends with its input, so with us.
    const namespaces = ['--net', ...(asUser ? ['--map-root-user'] : [])];
    const routes = closed.map((range) => `route add blackhole ${range}\\n`).join('');
    const script = `printf '${routes}' | "$1" -batch - && echo up >&3 && exec cat`;
    holder = startHelper(tools.unshare, [...namespaces, '--', '/bin/bash', '-c', script, 'impgem-network', tools.ip]);
    await holder.ready;
    const own = `/proc/${holder.pid}/ns`;
    opened.push(openSync(`${own}/net`, 'r'));
    if (asUser) opened.push(openSync(`${own}/user`, 'r'));
    // Its input is its --exit-fd: it ends with us too.
    const shut = ['--disable-host-loopback', '--enable-sandbox', '--enable-seccomp'];
    const wires = ['--ready-fd=3', '--exit-fd=0', '--configure', '--mtu=65520', `--cidr=${RANGE}`];
    // In mounts of its own: it unmounts all that it sees to shut itself in, and what is shared (the disks of a Docker
    // engine's containers) would be gone for the host as well. Without root the kernel sees to that.
    const alone = asUser ? [] : [tools.unshare, '--mount', '--propagation', 'private', '--'];
    const before = [...SLIRP_LIMITS, '--', ...alone, tools.slirp];
    slirp = startHelper(tools.prlimit, [...before, ...shut, ...wires, String(holder.pid), 'tap0']);
    await Promise.all([slirp.ready, writeFile(resolver, resolverOf(readResolver()))]);
  } catch (error) {
    await close();
    throw new InfrastructureError('sandbox-network', `Cannot make the network of a job: ${messageOf(error)}`, {
      cause: error,
      retryable: true,
    });
  }
  const [network = -1, user] = opened;
  const { pid, isAlive } = holder;
  const fresh = readTraces(pid);
  return {
    network,
    user,
    resolver,
    isAlive: slirp.isAlive,
    isUntouched: () => isAlive() && fresh !== undefined && readTraces(pid) === fresh,
    close,
  };
}

interface Helper {
  pid: number;
  /** Resolves at the first byte on its descriptor 3; rejects with what it said if it ends before. */
  ready: Promise<void>;
  isAlive: () => boolean;
  end: () => Promise<void>;
}

/** Detached: Ctrl-C on our terminal is ours to handle. */
function startHelper(program: string, args: string[]): Helper {
  const child: ChildProcess = spawn(program, args, {
    stdio: ['pipe', 'ignore', 'pipe', 'pipe'],
    env: {},
    cwd: '/',
    detached: true,
  });
  const [stdin, stderr, signs] = [child.stdin as Writable, child.stderr as Readable, child.stdio[3] as Readable];
  stdin.on('error', () => undefined);
  let said = '';
  stderr.on('data', (chunk: Buffer) => {
    if (said.length < 1000) said += chunk.toString();
  });
  const isAlive = (): boolean => child.pid !== undefined && child.exitCode === null && child.signalCode === null;
  const exited = once(child, 'close').then(
    () => said.trim() || 'it ended and said nothing.',
    (error: unknown) => messageOf(error),
  );
  const late = AbortSignal.timeout(START_MS);
  const ready = Promise.race([
    once(signs, 'data', { signal: late }).then(
      () => undefined,
      () => `${program} was not ready within ${START_MS / 1000} s.`,
    ),
    exited,
  ]).then((fault) => {
    signs.resume();
    if (fault !== undefined) throw new Error(`${program}: ${fault}`);
  });
  ready.catch(() => undefined);
  return {
    pid: child.pid ?? 0,
    ready,
    isAlive,
    end: async () => {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

function ownAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const own = all.filter(({ family, internal }) => family === 'IPv4' && !internal).map(({ address }) => address);
  return [...new Set(own)].filter((address) => !address.startsWith('169.254.'));
}

function readResolver(): string {
  try {
    return readFileSync('/etc/resolv.conf', 'utf8');
  } catch {
    return ''; // A machine without one asks its own loopback, which slirp4netns does for us.
  }
}

/**
 * The machine's resolv.conf as it holds in the network: slirp4netns asks the machine's first nameserver, wherever that is;
 * the others stand behind it where they can be reached.
 */
export function resolverOf(text: string): string {
  const lines = text.split('\n').map((line) => line.trim());
  const others = lines.flatMap((line) => /^nameserver\s+(\d+\.\d+\.\d+\.\d+)$/.exec(line)?.[1] ?? []);
  const usable = others.slice(1).filter((address) => !/^(127|0|169\.254)\./.test(address));
  const rest = lines.filter((line) => /^(search|domain|options|sortlist)\s/.test(line));
  const nameservers = [NAMESERVER, ...usable].slice(0, NAMESERVERS);
  return [...rest, ...nameservers.map((address) => `nameserver ${address}`), ''].join('\n');
}
