/** The network of a job in the sandbox: what is in it, what is not, and when there is none. */
import { execFile } from 'node:child_process';
import { chmod, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { createSandboxExecutor, probeNetwork } from '../../src/executors/sandbox/executor.ts';
import { findProgram } from '../../src/executors/sandbox/bubblewrap.ts';
import { createNetwork, findNetworkTools, resolverOf, type NetworkTools } from '../../src/executors/sandbox/network.ts';
import type { NetworkChoice } from '../../src/executors/sandbox/networks.ts';
import { descendantsOf } from '../../src/executors/sandbox/process-tree.ts';
import { openJob, recordOutput, type TestJob } from './conformance/job.ts';

const CANARY = 'canary-of-the-host';
const { signal } = new AbortController();

function executorOn(network: NetworkChoice): ReturnType<typeof createSandboxExecutor> {
  const executor = createSandboxExecutor({ mounts: [], limits: {}, network });
  onTestFinished(() => executor.close());
  return executor;
}

async function jobOn(network: NetworkChoice, executor = executorOn(network)): Promise<TestJob> {
  const job = await openJob(executor, '');
  onTestFinished(() => job.close());
  return job;
}

async function listenOn(where: { port: number; host: string } | string): Promise<Server> {
  const server = createServer((socket) => socket.end(CANARY));
  await new Promise<void>((resolve) => server.listen(where as string, resolve));
  onTestFinished(() => void server.close());
  return server;
}

const portOf = (server: Server): number => (server.address() as AddressInfo).port;

const read = (host: string, port: number): string =>
  `{ timeout 5 cat < /dev/tcp/${host}/${port}; } 2>&1 || echo CLOSED`;

describe('a network of its own', () => {
  it('does not have the loopback of the host, by any name, nor its abstract sockets', async () => {
    const server = await listenOn({ port: 0, host: '127.0.0.1' });
    await listenOn(`\0impgem-${CANARY}`);
    const job = await jobOn('private');
    const hosts = ['127.0.0.1', '127.0.0.2', '0.0.0.0', 'localhost', '198.19.255.2', '198.19.255.3'];
    const perl = `perl -MSocket -e 'socket(my $s, PF_UNIX, SOCK_STREAM, 0); connect($s, pack("S", AF_UNIX)."\\0impgem-${CANARY}") and print <$s>'`;
    const tries = [...hosts.map((host) => read(host, portOf(server))), perl];
    expect((await job.run(`set +e\n${tries.join('\n')}\ntrue`)).text).not.toContain(CANARY);
  });

  it('has a way out, but not to the addresses of the host', async () => {
    const own = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
    const address = own.find(({ family, internal }) => family === 'IPv4' && !internal)?.address ?? '';
    const script = read(address, portOf(await listenOn({ port: 0, host: address })));
    expect((await (await jobOn('private')).run(script)).text).toContain('CLOSED');
    // The same address, as a stranger's.
    const tools = findNetworkTools() as NetworkTools;
    const network = await createNetwork(tools, tmpdir(), []);
    onTestFinished(() => network.close());
    const enter = network.user === undefined ? [] : [`--user=/proc/${process.pid}/fd/${network.user}`];
    const args = [...enter, `--net=/proc/${process.pid}/fd/${network.network}`, '--', 'bash', '-c', script];
    expect((await promisify(execFile)(tools.nsenter, args)).stdout).toBe(CANARY);
  });

  it('leads nowhere at the addresses where clouds give out credentials', async () => {
    const job = await jobOn('private');
    for (const address of ['169.254.169.254', '169.254.170.2', '168.63.129.16', '100.100.100.200', '192.0.0.192']) {
      // At once, and before a packet is sent.
      expect((await job.run(read(address, 80))).text, address).toContain('Invalid argument');
    }
  });

  it('is served by a process that a step cannot make large', async () => {
    const job = await jobOn('private');
    await job.run('true');
    const pids = await descendantsOf(process.pid);
    const limits = await Promise.all(
      pids.map(async (pid) => {
        const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
        return name === 'slirp4netns\n' ? await readFile(`/proc/${pid}/limits`, 'utf8') : '';
      }),
    );
    expect(limits.join('')).toMatch(/^Max data size +536870912 /m);
    expect(limits.join('')).toMatch(/^Max open files +4096 /m);
  });

  it('cannot be changed by a step', async () => {
    const job = await jobOn('private');
    const tries = [
      'ip route del blackhole 169.254.0.0/16',
      'ip link set lo down',
      'ip addr add 169.254.1.1/16 dev tap0',
    ];
    for (const attempt of tries) {
      expect((await job.run(`${attempt} > /dev/null 2>&1 && echo CHANGED; true`)).text, attempt).toBe('');
    }
  });

  it('asks a resolver that is in it', async () => {
    const job = await jobOn('private');
    expect((await job.run('cat /etc/resolv.conf')).text).toContain('nameserver 198.19.255.3\n');
  });

  it('is shared by the services and steps of a job, and by no other job', async () => {
    const executor = executorOn('private');
    const jobs = [await jobOn('private', executor), await jobOn('private', executor)];
    const port = 16379;
    // The same port in both, at once.
    for (const [at, job] of jobs.entries()) {
      const run = `perl -MIO::Socket::INET -e 'my $l = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => ${port}, Listen => 9, ReuseAddr => 1) or die $@; while (my $c = $l->accept) { print $c "job ${at}"; close $c }'`;
      const ready = { port, timeoutMs: 20_000 };
      await job.sandbox.startService({ name: 'teller', run, env: {}, ready }, recordOutput(), { signal });
    }
    for (const [at, job] of jobs.entries()) {
      expect((await job.run(read('teller', port))).text).toBe(`job ${at}`);
      expect((await job.run(read('127.0.0.1', port), { network: 'none' })).text).toContain('CLOSED');
    }
  });

  it("is the next job's when nobody used it", async () => {
    const executor = executorOn('private');
    const nets: string[] = [];
    for (let job = 0; job < 3; job++) {
      const opened = await openJob(executor, '');
      nets.push(
        (
          await opened.run(
            'readlink /proc/self/ns/net; perl -MIO::Socket::INET -e "IO::Socket::INET->new(Listen => 1)"',
          )
        ).text,
      );
      await opened.close();
    }
    expect(nets).toEqual([nets[0], nets[0], nets[0]]);
    expect(nets[0]).toMatch(/^net:/);
  });

  it.each([
    [': < /dev/tcp/127.0.0.1/99', 'a connection that was refused'],
    [': < /dev/tcp/::1/99', 'the same by IPv6'],
    ['echo > /dev/udp/127.0.0.1/99', 'a datagram'],
    ['echo > /dev/udp/::1/99', 'the same by IPv6'],
    ['echo > /dev/udp/198.51.100.7/99', 'a datagram to the world'],
    ['timeout 0.1 cat < /dev/tcp/198.51.100.7/99', 'a connection to the world'],
  ])("is nobody else's after %s", async (script) => {
    const executor = executorOn('private');
    const fresh = await jobOn('private', executor);
    const traces = 'grep -E "^(Tcp|Udp|Icmp)" /proc/net/snmp; grep -E "^Udp6" /proc/net/snmp6; grep lo: /proc/net/dev';
    const untouched = (await fresh.run(traces)).text;
    const job = await openJob(executor, '');
    const touched = (await job.run(`{ ${script}; } 2> /dev/null || true; ${traces}`)).text;
    await job.close();
    expect(touched).not.toBe(untouched);
    const next = await jobOn('private', executor);
    expect((await next.run(traces)).text).toBe(untouched);
  });

  it('goes with its job, and all of them with the executor', async () => {
    const helpers = async (): Promise<number> => (await descendantsOf(process.pid)).length;
    const before = await helpers();
    const executor = createSandboxExecutor({ mounts: [], limits: {}, network: 'private' });
    const jobs = await Promise.all([1, 2, 3].map(() => openJob(executor, '')));
    await Promise.all(jobs.map((job) => job.run('true')));
    await Promise.all(jobs.map((job) => job.close()));
    await executor.close();
    expect(await helpers()).toBe(before);
    expect((await readdir('/dev/shm')).filter((name) => name.includes(`-${process.pid}-`))).toEqual([]);
  });
});

describe("the host's network", () => {
  it('is there for who asks for it', async () => {
    const server = await listenOn({ port: 0, host: '127.0.0.1' });
    const job = await jobOn('host');
    expect((await job.run(read('127.0.0.1', portOf(server)))).text).toBe(CANARY);
    expect(await executorOn('host').describe()).toContain("the host's network (IMPGEM_SANDBOX_NETWORK=host)");
  });

  describe('where no other can be made', () => {
    let folder: string;
    const slirp = findProgram('slirp4netns') ?? '';
    beforeEach(async () => {
      folder = await mkdtemp(join(tmpdir(), 'impgem-programs-'));
      for (const name of ['bwrap', 'mkfifo', 'unshare', 'nsenter', 'prlimit', 'ip'])
        await symlink(findProgram(name) ?? '', join(folder, name));
      vi.stubEnv('PATH', folder);
    });
    afterEach(async () => {
      vi.unstubAllEnvs();
      await rm(folder, { recursive: true, force: true });
    });

    it('is taken by `auto` and by no one else when slirp4netns is missing', async () => {
      expect(await probeNetwork()).toBe('slirp4netns not installed (apt-get install slirp4netns)');
      const job = await jobOn('auto');
      expect((await job.run('echo ran')).text).toBe('ran\n');
      expect(job.notes).toEqual([]);
      await expect(openJob(executorOn('private'), '')).rejects.toMatchObject({
        code: 'sandbox-network',
        message: expect.stringContaining('apt-get install slirp4netns') as string,
      });
    });

    it('is taken by `auto` and by no one else when slirp4netns does not work', async () => {
      await writeFile(join(folder, 'slirp4netns'), '#!/bin/sh\necho "no /dev/net/tun" >&2; exit 1\n');
      await chmod(join(folder, 'slirp4netns'), 0o755);
      expect(await probeNetwork()).toContain('no /dev/net/tun');
      const job = await jobOn('auto');
      expect((await job.run('echo ran')).text).toBe('ran\n');
      expect(job.notes).toEqual([expect.stringMatching(/^steps are on the host's network: .*no \/dev\/net\/tun/s)]);
      await expect(openJob(executorOn('private'), '')).rejects.toMatchObject({ code: 'sandbox-network' });
    });

    it('is never taken later, when a network of its own has worked once', async () => {
      await symlink(slirp, join(folder, 'slirp4netns'));
      const executor = createSandboxExecutor({ mounts: [], limits: {}, warm: false });
      onTestFinished(() => executor.close());
      await jobOn('auto', executor);
      await rm(join(folder, 'slirp4netns'));
      await expect(openJob(executor, '')).rejects.toMatchObject({ code: 'sandbox-network' });
    });
  });
});

describe('resolverOf', () => {
  it('keeps the other nameservers that can be reached, and how names are looked up', () => {
    const text =
      '# by hand\nsearch a.example b.example\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nnameserver fe80::1\nnameserver 169.254.169.253\nnameserver 10.0.0.3\nnameserver 10.0.0.4\noptions edns0\n';
    expect(resolverOf(text)).toBe(
      'search a.example b.example\noptions edns0\nnameserver 198.19.255.3\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n',
    );
    expect(resolverOf('')).toBe('nameserver 198.19.255.3\n');
  });
});
