/** What a step may try, and what comes of it: the outcomes that docs/isolation.md promises. */
import { execa } from 'execa';
import { existsSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { createDockerExecutor } from '../../src/executors/docker/docker-executor.ts';
import { CAPABILITIES } from '../../src/executors/docker/container-spec.ts';
import type { Executor, Task } from '../../src/executors/executor.ts';
import { BASE_IMAGE, type EngineBench, openEngineBench } from '../support/docker-engine.ts';
import { startOwnEngine } from '../support/own-engine.ts';
import { smallDisk } from '../support/small-disk.ts';
import { contextOf, openJob, recordOutput, type TestJob } from './conformance/job.ts';

const LOG_LIMIT = 8 * 1024 * 1024;
const MIB = 1024 * 1024;
const canary = join(tmpdir(), `impgem-canary-${process.pid}`);

let bench: EngineBench;
let executor: Executor;
let job: TestJob;
let other: TestJob;
/** Listens where a host's own Redis or API might: on an address of the engine's host that its containers know. */
let server: Server;
let gateway: string;
let port: number;
let neighbour: string;

beforeAll(async () => {
  bench = await openEngineBench({ logLimit: LOG_LIMIT });
  executor = await createDockerExecutor(bench.options);
  [job, other] = await Promise.all([openJob(executor, BASE_IMAGE), openJob(executor, BASE_IMAGE)]);
  await writeFile(canary, 'canary of the host');
  gateway = /inet ([\d.]+)/.exec((await execa('ip', ['-4', 'addr', 'show', 'docker0'])).stdout)![1]!;
  server = createServer((socket) => socket.end('canary of the host\n')).listen(0, gateway);
  await once(server, 'listening');
  port = (server.address() as { port: number }).port;
  const serve = `exec perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(LocalPort => 6379, Listen => 5) or die; while (my $c = $s->accept) { print $c "canary of the neighbour\\n"; close $c }'`;
  const ready = { port: 6379, timeoutMs: 20_000 };
  const signal = new AbortController().signal;
  await other.sandbox.startService({ name: 'redis', run: serve, env: {}, ready }, recordOutput(), { signal });
  neighbour = (await other.run("getent hosts redis | cut -d' ' -f1")).text.trim();
});

afterAll(async () => {
  await Promise.all([job.close(), other.close()]);
  await executor.close();
  server.close();
  await rm(canary, { force: true });
  expect(await bench.leftovers()).toEqual([]);
  await bench.close();
});

/** Runs an attempt; afterwards the next step of the job still runs. */
async function attempt(script: string, task: Partial<Task> = {}) {
  const ran = await job.run(`set +e\n${script}`, task);
  expect((await job.run('echo alive')).text).toBe('alive\n');
  return { text: ran.text, code: ran.exit.code, reason: ran.exit.reason, handover: ran.exit.handover };
}

const connect = (host: string, to: number | string) =>
  `timeout 5 bash -c 'exec 3<>/dev/tcp/${host}/${to} && cat <&3' 2>/dev/null; echo "code $?"`;
/** 1: refused at once; 124 would be a packet that vanished. */
const REFUSED = 'code 1\n';

/** A system call by its number; prints the error, or nothing when it succeeded. */
const syscall = (call: string) => `perl -e 'print "$!\\n" if syscall(${call}) < 0'`;
const EPERM = 'Operation not permitted\n';

describe('the network of a step', () => {
  it('reaches its own services by name, so that a refusal below means something', async () => {
    expect((await other.run(connect('redis', 6379))).text).toBe('canary of the neighbour\ncode 0\n');
    const plain = await execa('docker', ['run', '--rm', BASE_IMAGE, 'bash', '-c', connect(gateway, port)]);
    expect(plain.stdout).toBe('canary of the host\ncode 0');
  });

  it("does not reach the host's services (Redis, the API) at any of its addresses", async () => {
    expect((await attempt(connect(gateway, port))).text).toBe(REFUSED);
    const own = String.raw`perl -ne 'print join(".", reverse map { hex } $1 =~ /../g) if /^\S+\s+00000000\s+(\S+)/' /proc/net/route`;
    const address = (await attempt(own)).text;
    expect(address).toMatch(/^\d+\.\d+\.\d+\.1$/);
    expect((await attempt(connect(address, port))).text).toBe(REFUSED);
  });

  it('does not reach the API of the engine', async () => {
    for (const to of [2375, 2376]) expect((await attempt(connect(gateway, to))).text).toBe(REFUSED);
    expect((await attempt('find / -xdev -type s 2>/dev/null')).text).toBe('');
  });

  it("does not reach another job's service, by address or name", async () => {
    expect(neighbour).toMatch(/^\d+\./);
    expect((await attempt(connect(neighbour, 6379))).text).not.toContain('canary');
    expect((await attempt(connect('redis', 6379))).text).toBe(REFUSED);
  });

  it('reaches no neighbour either in the moments in which the engine rebuilds its rules, as it does for each network', async () => {
    const knock = `perl -MIO::Socket::INET -e '
      my $reached = 0; my $end = time + 8;
      for (1 .. 20) { next if fork; while (time < $end) {
        print "reached\\n" if IO::Socket::INET->new(PeerAddr => "${neighbour}:6379", Timeout => 0.05);
      } exit } 1 while wait > 0; print "knocked\\n"'`;
    const knocking = attempt(knock);
    const networks = Array.from({ length: 24 }, (_, number) => `${bench.options.instance}-${number}`);
    for (const name of networks) {
      await execa('docker', ['network', 'create', name]);
      await execa('docker', ['network', 'rm', name]);
    }
    expect((await knocking).text).toBe('knocked\n');
  });

  it('does not reach link-local addresses, where clouds keep metadata', async () => {
    expect((await attempt(connect('169.254.169.254', 80))).text).toBe(REFUSED);
  });

  it('has none with network: none', async () => {
    const tried = await attempt(`${connect(gateway, port)}; ls /sys/class/net`, { network: 'none' });
    expect(tried.text).toBe('code 1\nlo\n');
  });

  it('opens no raw or packet socket, and changes no interface', async () => {
    expect((await attempt(syscall('41, 2, 3, 1'))).text).toBe(EPERM); // socket(AF_INET, SOCK_RAW, ICMP)
    expect((await attempt(syscall('41, 17, 3, 768'))).text).toBe(EPERM); // socket(AF_PACKET, SOCK_RAW, ETH_P_ALL)
    const flags = `perl -MSocket -e 'socket(S, AF_INET, SOCK_DGRAM, 0); my $r = pack("a16 s x22", "eth0", 0); ioctl(S, 0x8914, $r) or print "$!\\n"'`;
    expect((await attempt(flags)).text).toBe(EPERM);
  });
});

describe('files and devices', () => {
  it('sees no file of the host', async () => {
    expect(existsSync(canary)).toBe(true);
    expect((await attempt(`cat ${canary} /proc/1/root${canary} 2>/dev/null; ls /impgem`)).text).not.toContain('canary');
  });

  it('sees its own folders only: no other job, no other step', async () => {
    await other.run('echo secret > mine');
    expect((await attempt('find / -xdev -name mine 2>/dev/null; ls /impgem /workspace')).text).toBe(
      '/impgem:\ncontrol\nhome\nobjects\nstep\n\n/workspace:\n',
    );
  });

  it('mounts and unmounts nothing', async () => {
    const script = `mount -t tmpfs none /mnt; mount --bind / /mnt; mount -o remount,rw /impgem/objects
      mount -t proc none /mnt; mount -t cgroup -o memory none /mnt; umount -l /workspace; ls /mnt`;
    expect((await attempt(`{ ${script}; } 2>/dev/null`)).text).toBe('');
  });

  it('enters no namespace of its own, where it would be root with all capabilities', async () => {
    for (const flag of ['-U', '-Ur', '-m', '-n', '-p', '-C'])
      expect((await attempt(`unshare ${flag} true 2>/dev/null; echo $?`)).text).toBe('1\n');
    expect((await attempt('nsenter -t 1 -n true 2>/dev/null; echo $?')).text).toBe('1\n');
  });

  it('makes no device, and finds none of the host', async () => {
    expect((await attempt('mknod /tmp/disk b 254 0 2>&1')).text).toContain('Operation not permitted');
    expect((await attempt('find /dev -type b; ls /dev/mem /dev/kmsg /dev/kvm /dev/fuse 2>/dev/null')).text).toBe('');
  });

  it('does not leave by chroot, or by a file handle (open_by_handle_at)', async () => {
    expect((await attempt('chroot / true 2>/dev/null; echo $?')).text).toBe('125\n');
    expect((await attempt(syscall('304, 3, 0, 0'))).text).toBe(EPERM);
  });

  it('gains nothing by a setuid file', async () => {
    const script = `cp /bin/bash sh; chown root sh; chmod u+s sh
      setpriv --reuid 1000 --clear-groups ./sh -p -c 'id -u'`;
    expect((await attempt(script)).text).toBe('1000\n');
  });

  it('writes to no shared folder that is read-only', async () => {
    expect((await attempt('echo x 2>/dev/null > /impgem/objects/x; echo $?')).text).toBe('1\n');
  });

  it('fills no more than its share of memory through /dev/shm', async () => {
    expect((await attempt('head -c 100M /dev/zero > /dev/shm/x 2>/dev/null; stat -c %s /dev/shm/x')).text).toBe(
      `${64 * MIB}\n`,
    );
  });
});

describe('the kernel', () => {
  it('gives the capabilities that the docs list, and no new ones', async () => {
    const status = await attempt('grep -E "CapEff|CapBnd|NoNewPrivs|Seccomp:" /proc/self/status');
    expect(status.text).toContain('NoNewPrivs:\t1');
    expect(status.text).toContain('Seccomp:\t2');
    const bits = BigInt(`0x${/CapBnd:\s*(\w+)/.exec(status.text)![1]!}`).toString(2);
    expect(bits.replaceAll('0', '')).toHaveLength(CAPABILITIES.length);
  });

  it('is not changed through /proc and /sys', async () => {
    const script = `for file in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/sys/vm/drop_caches \
      $(find /sys -name uevent_helper -o -name release_agent -o -name cgroup.procs -o -name memory.limit_in_bytes); do
      bash -c ": >> $file" 2>/dev/null && echo "WRITABLE $file"; done`;
    expect((await attempt(script)).text).toBe('');
  });

  it('loads no module, no eBPF, no other kernel; reads no performance counters; sets no clock and no host name', async () => {
    expect((await attempt(syscall('175, 0, 0, 0'))).text).toBe(EPERM); // init_module
    expect((await attempt(syscall('321, 0, 0, 0'))).text).toBe(EPERM); // bpf
    expect((await attempt(syscall('246, 0, 0, 0, 0'))).text).toBe(EPERM); // kexec_load
    expect((await attempt(syscall('298, 0, 0, -1, -1, 0'))).text).toBe(EPERM); // perf_event_open
    expect((await attempt('date -s 2000-01-01 >/dev/null 2>&1; echo $?; hostname x 2>/dev/null; echo $?')).text).toBe(
      '1\n1\n',
    );
  });

  it('shows no key ring', async () => {
    expect((await attempt(syscall('250, 0, -3, 0'))).text).toBe(EPERM); // keyctl
  });

  it('shows no process but its own, and lets it trace none of the host', async () => {
    const seen = await attempt('cat /proc/[0-9]*/comm > seen; sort -u seen; rm seen');
    expect(seen.text).toBe('bash\ncat\nsh\n');
    expect((await attempt(syscall(`101, 16, ${process.pid}, 0, 0`))).text).toBe('No such process\n');
  });

  it('lets it trace what waits in its own container at most, which is no more than itself', async () => {
    // PTRACE_ATTACH, PTRACE_PEEKUSER: its registers are a step's own, with its capabilities and its files.
    const script = `caps() { sed -n '/^Cap/p' /proc/$1/status; }
      for each in 1 $PPID; do
        perl -e 'exit(syscall(101, 16, $ARGV[0], 0, 0) < 0 ? 1 : 0)' $each && echo "traced $each" >&2
        [ "$(caps $each)" = "$(caps self)" ] && [ "$(readlink /proc/$each/ns/pid)" = "$(readlink /proc/self/ns/pid)" ] && echo same
      done`;
    const tried = await attempt(script);
    expect(tried.text.replaceAll(/traced \d+\n/g, '')).toBe('same\nsame\n');
    expect((await other.run('echo beside')).text).toBe('beside\n');
  });

  it('ends a daemon with its step, before the next begins', async () => {
    const daemon = `mkfifo started
      setsid flock lock bash -c 'trap "" TERM HUP; exec 1>&- 2>&-; echo > started; while :; do sleep 1000; done' &
      read -r _ < started`;
    expect(await job.run(daemon)).toMatchObject({ exit: { code: 0 } });
    expect((await job.run('flock -n lock echo free || echo held; rm started lock')).text).toBe('free\n');
  });

  it('is not taken by a fork bomb', async () => {
    const bomb = await attempt('b() { b | b & b; }; b 2>/dev/null', { limits: { pids: 64, memory: 128 * MIB } });
    expect(bomb.code).not.toBe(0);
    expect((await other.run('echo beside')).text).toBe('beside\n');
  });

  it('gives no more memory than the limit', async () => {
    const tried = await attempt('head -c 300M /dev/zero | tail -n 1 >/dev/null; exit 9', {
      limits: { memory: 64 * MIB },
    });
    expect(tried).toMatchObject({ code: 9, reason: 'out of memory' });
  });
});

describe('the disk of the engine', () => {
  it('is full for the step that fills it, and free again after its job', { timeout: 120_000 }, async () => {
    const disk = await smallDisk(1024 * MIB);
    const engine = await startOwnEngine({ args: ['--data-root', disk.folder] });
    onTestFinished(() => engine.stop());
    // What is written to a disk of memory counts as the step's.
    const limits = { ...bench.options.limits, memory: 2048 * MIB };
    const options = { ...bench.options, host: engine.host, limits };
    const filling = await createDockerExecutor(options);
    const filler = await openJob(filling, BASE_IMAGE);
    const filled = await filler.run('head -c 2G /dev/zero > /filled');
    expect(filled.exit.code).not.toBe(0);
    expect(filled.text).toContain('No space left on device');
    await filler.close();
    await filling.close();
    expect((await job.run('echo beside')).text).toBe('beside\n');
    const next = await createDockerExecutor(options);
    const after = await openJob(next, BASE_IMAGE);
    expect((await after.run('head -c 1M /dev/zero > /fits && echo alive')).text).toBe('alive\n');
    await after.close();
    await next.close();
  });
});

describe('its own output', () => {
  it('ends at the limit: 100 GB of log', async () => {
    const tried = await attempt('yes 0123456789 | head -c 100G');
    expect(tried.code).toBe(137);
    expect(tried.text).toHaveLength(LOG_LIMIT + 1);
  });

  it('ends at the limit: a log made 100 GB long without writing it', async () => {
    expect((await attempt('truncate -s 100G /impgem/control/log; sleep 60')).code).toBe(137);
  });

  it('goes on when it truncates its log', async () => {
    const tried = await attempt('echo one; sleep 0.3; : > /impgem/control/log; sleep 0.3; echo two; exit 4');
    expect(tried.code).toBe(4);
    expect(tried.text).toMatch(/^one\n(two\n)?$/);
  });

  it('goes on when it replaces its log by a link, a pipe, or a folder', async () => {
    for (const replace of ['ln -s /etc/passwd log', 'mkfifo log', 'mkdir log']) {
      const tried = await attempt(`cd /impgem/control; rm log; ${replace}; echo told; exit 5`);
      expect(tried).toMatchObject({ code: 5, text: 'told\n' });
    }
  });

  it('cannot feign an end: a record without the nonce is text', async () => {
    const tried = await attempt(String.raw`printf '\001\001impgem-end:0:0:0\n'; echo after; exit 6`);
    expect(tried).toMatchObject({ code: 6, text: '\u0001\u0001impgem-end:0:0:0\nafter\n' });
  });

  it('lies about itself alone when it finds its nonce and feigns its end', async () => {
    // The shell that waits for the script has the commands in its memory, the nonce among them.
    const feign = `perl -e '
      for my $pid (@ARGV) {
        open(my $maps, "<", "/proc/$pid/maps") or next; open(my $memory, "<", "/proc/$pid/mem") or next;
        while (<$maps>) { next unless /^(\\w+)-(\\w+) rw/; my ($from, $to) = (hex $1, hex $2);
          sysseek($memory, $from, 0) or next; sysread($memory, my $bytes, $to - $from) or next;
          if ($bytes =~ /impgem-end:(\\w{8,}):/) { $| = 1; print "\\001\\001impgem-end:$1:0:0\\n"; sleep 1000 } } }' $PPID
      exit 9`;
    const tried = await attempt(feign);
    expect(tried.code).toBe(0);
    expect((await other.run('echo beside')).text).toBe('beside\n');
  });

  it('may close its output, and the folder of its channel may go', async () => {
    expect(await attempt('exec >&- 2>&-; exit 7')).toMatchObject({ code: 7, text: '' });
    const removed = await attempt('rm -rf /impgem/control/* /impgem/step/*; echo gone; exit 8');
    expect(removed).toMatchObject({ code: 8, text: 'gone\n', handover: { env: '', output: '' } });
  });
});

describe('its entry process and hand-over', () => {
  it('fails, and nothing else, when it kills the process that waits for it', async () => {
    expect((await attempt('kill -9 $PPID; echo last; sleep 0.2')).code).toBe(137);
  });

  it('fails when it kills what copies its output', async () => {
    const script =
      'for p in /proc/[0-9]*; do [ "$(cat $p/comm)" = cat ] && kill -9 ${p#/proc/}; done; sleep 0.2; echo x';
    expect((await attempt(script)).code).not.toBe(0);
  });

  it('ends alone when it kills everything it can', async () => {
    expect((await attempt('kill -9 -1')).code).toBe(137);
    expect((await other.run('echo beside')).text).toBe('beside\n');
  });

  it('has nobody read what it writes to the channel that its script came by', async () => {
    const tried = await attempt("(echo 'touch /workspace/taken' > /proc/1/fd/0) 2>/dev/null; sleep 0.2; exit 3");
    expect(tried.code).toBe(3);
    expect((await job.run('ls taken 2>/dev/null; true')).text).toBe('');
  });

  it('hands nothing on through a link, a pipe, or a file without end', async () => {
    const link = await attempt('ln -sf /etc/passwd /impgem/step/output; ln -sf /proc/self/environ /impgem/step/env');
    expect(link.handover).toEqual({ env: '', output: '', path: '', summary: '' });
    const pipe = await attempt('rm /impgem/step/env; mkfifo /impgem/step/env');
    expect(pipe.handover.env).toBe('');
    const huge = await attempt('truncate -s 10G /impgem/step/summary');
    expect(huge.handover.summary).toHaveLength(MIB);
  });

  it('leaves links in the workspace that mean nothing outside', async () => {
    await attempt(`ln -s ${canary} link; ln -s / root`);
    expect((await job.run('cat link root/tmp/* 2>/dev/null; true')).text).not.toContain('canary');
  });
});

describe('hostile images', () => {
  it('get their WORKDIR, entry point, health check and command ignored', async () => {
    const tag = `impgem-hostile-${process.pid}`;
    const { stdout: made } = await execa('docker', ['create', BASE_IMAGE]);
    const changes = ['WORKDIR /proc/self/fd/8', 'ENTRYPOINT ["/bin/false"]', 'CMD ["/bin/false"]', 'USER nobody'];
    await execa('docker', ['commit', ...changes.flatMap((change) => ['--change', change]), made, tag]);
    await execa('docker', ['rm', made]);
    try {
      const tried = await attempt('pwd; id -un; ls / >/dev/null && echo fine', { image: tag });
      expect(tried).toMatchObject({ code: 0, text: '/workspace\nnobody\nfine\n' });
    } finally {
      await execa('docker', ['rmi', '-f', tag]);
    }
  });

  it("are never run with rights of ours: rules of the network are set in the operator's image", async () => {
    const tag = `impgem-hostile-chroot-${process.pid}`;
    const planted = join(tmpdir(), `impgem-planted-${process.pid}`);
    const plant = `printf '#!/bin/sh\\ntouch /engine${planted}\\n' > /usr/sbin/chroot && chmod +x /usr/sbin/chroot`;
    const made = `${tag}-made`;
    await execa('docker', ['run', '--name', made, BASE_IMAGE, 'sh', '-c', plant]);
    await execa('docker', ['commit', made, tag]);
    await execa('docker', ['rm', made]);
    // A worker that has just begun, and whose first job names this image.
    const fresh = await createDockerExecutor(bench.options);
    try {
      const first = await openJob(fresh, tag);
      expect((await first.run('echo fine')).text).toBe('fine\n');
      await first.close();
      expect(existsSync(planted)).toBe(false);
    } finally {
      await fresh.close();
      await rm(planted, { force: true });
      await execa('docker', ['rmi', '-f', tag]);
    }
  });

  it('with a name that is no name are refused before the engine hears of them', async () => {
    for (const image of [
      '--privileged',
      'alpine;id',
      '../x',
      'a b',
      'UPPER/case',
      `x:${'y'.repeat(200)}`,
      'x@sha256:1',
    ])
      await expect(job.run('true', { image })).rejects.toMatchObject({ code: 'image-name' });
  });
});

describe('rules of the network', () => {
  it('that could not be set let no job run', async () => {
    const tag = `impgem-empty-${process.pid}`;
    await execa('sh', ['-c', 'tar -c -T /dev/null | docker import - "$0"', tag]);
    const fresh = await createDockerExecutor({ ...bench.options, image: tag });
    try {
      await expect(openJob(fresh, BASE_IMAGE)).rejects.toMatchObject({
        name: 'ExecutorLostError',
        message: expect.stringMatching(/^No job is run, .*chroot/),
      });
      // So no further one is taken, until they can be set.
      expect(await fresh.trouble?.()).toMatch(/^No job is run, .*chroot/);
      await execa('docker', ['tag', BASE_IMAGE, tag]);
      await expect.poll(() => fresh.trouble?.(), { timeout: 30_000 }).toBeUndefined();
      await (await openJob(fresh, BASE_IMAGE)).close();
    } finally {
      await fresh.close();
      await execa('docker', ['rmi', '-f', tag]);
    }
  });

  it('that an engine cannot have are missed in the log of each job, and in that of the worker', async () => {
    const engine = await startOwnEngine({ args: ['--iptables=false'] });
    const problems: unknown[] = [];
    const onProblem = (error: unknown): void => void problems.push(error);
    const fresh = await createDockerExecutor({ ...bench.options, host: engine.host, onProblem });
    try {
      const caveat =
        "steps may reach services of the engine's host: the engine has no packet filter of its own (chain DOCKER-USER)";
      for (let jobs = 0; jobs < 2; jobs++) {
        const notes: string[] = [];
        const context = await contextOf(BASE_IMAGE, [], { note: (line) => void notes.push(line) });
        await (await fresh.prepare(context)).dispose();
        await rm(context.folder, { recursive: true, force: true });
        expect(notes).toContain(caveat);
      }
      expect(problems[0]).toMatchObject({ code: 'network-rules', message: caveat });
    } finally {
      await fresh.close();
      await engine.stop();
    }
  });

  it('block the networks that the operator names', async () => {
    const network = '198.51.100.0/24';
    const rule = ['DOCKER-USER', '-i', 'ig+', '-d', network, '-j', 'REJECT'];
    const fresh = await createDockerExecutor({ ...bench.options, blockedNetworks: [network] });
    try {
      await (await openJob(fresh, BASE_IMAGE)).close();
      expect((await execa('iptables', ['-w', '-C', ...rule])).exitCode).toBe(0);
    } finally {
      await fresh.close();
      await execa('iptables', ['-w', '-D', ...rule], { reject: false });
    }
  });
});
