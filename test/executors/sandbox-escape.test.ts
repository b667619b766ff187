/** Attempts from inside a step to reach what is not its own. Each also looks for the canary on the host. */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Executor } from '../../src/executors/executor.ts';
import { createSandboxExecutor } from '../../src/executors/sandbox/executor.ts';
import { openJob, recordOutput, taskOf, type TestJob } from './conformance/job.ts';

const CANARY = `canary-${process.pid}`;
const MIB = 1024 * 1024;

describe('escape from the sandbox', () => {
  let data: string;
  let mounted: string;
  let executor: Executor;
  let job: TestJob;

  beforeAll(async () => {
    process.env['IMPGEM_ESCAPE_CANARY'] = CANARY;
    data = await mkdtemp(join(tmpdir(), 'impgem-data-'));
    await writeFile(join(data, 'secret'), CANARY);
    mounted = await mkdtemp(join(tmpdir(), 'impgem-mounted-'));
    await writeFile(join(mounted, 'tool'), 'tool');
    await mkdir(join(mounted, 'data'));
    await writeFile(join(mounted, 'data', 'secret'), CANARY);
    const hide = [join(mounted, 'data')];
    executor = createSandboxExecutor({ mounts: [mounted], hide, limits: { pids: 256, memory: 512 * MIB } });
  });
  afterAll(async () => {
    delete process.env['IMPGEM_ESCAPE_CANARY'];
    await executor.close();
    await rm(data, { recursive: true });
    await rm(mounted, { recursive: true });
  });
  beforeEach(async () => {
    job = await openJob(executor, 'none');
  });
  afterEach(() => job.close());

  const says = async (script: string): Promise<string> => (await job.run(`set +e\n${script}\ntrue`)).text;

  it('sees nothing of the host but tools', async () => {
    expect(await says('ls -A / | tr "\\n" " "')).toMatch(
      /^(bin|dev|etc|impgem|lib|lib32|lib64|libx32|opt|proc|run|sbin|tmp|usr|var|workspace|\s)*$/,
    );
    expect(await says('ls -A /run /var/lib /var/run /home /root /srv /mnt /sys 2>/dev/null | grep -v :')).toBe('\n');
  });

  it('finds the data folder by no path', async () => {
    const paths = [
      data,
      `/proc/1/root${data}`,
      `/proc/self/root${data}`,
      `/proc/self/cwd/../../..${data}`,
      job.context.folder,
    ];
    for (const path of paths) expect(await says(`cat '${path}/secret' '${path}/../secret' 2>/dev/null`)).toBe('');
    expect(
      await says(`grep -rl ${CANARY} /etc /run /tmp /impgem /workspace /dev/shm 2>/dev/null | grep -v /impgem/script`),
    ).toBe('');
  });

  it('finds nothing in a hidden folder below a mount', async () => {
    expect(await says(`cat ${mounted}/tool; ls -A ${mounted}/data; cat ${mounted}/data/secret 2>/dev/null`)).toBe(
      'tool',
    );
    expect(await says(`touch ${mounted}/x ${mounted}/data/x 2>/dev/null && echo WROTE`)).toBe('');
  });

  it('reads no secret of the host', async () => {
    const files = '/etc/shadow /etc/gshadow /etc/sudoers /etc/ssh /etc/ssl/private /etc/docker /etc/redis /root/.ssh';
    expect(await says(`ls -d ${files} 2>/dev/null`)).toBe('');
    expect(await says('cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr "\\0" "\\n" | grep -c CANARY')).not.toContain(
      CANARY,
    );
  });

  it('keeps its own secrets out of the process list and environments of the host', async () => {
    const output = recordOutput();
    const cancel = new AbortController();
    const task = taskOf('echo ready; sleep 1000', { env: { TOKEN: `token-${CANARY}` } });
    const running = job.sandbox.start(task, output, { signal: cancel.signal, graceMs: 0 });
    await output.until('ready\n');
    const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
    const read = (pid: string, file: string): Promise<string> =>
      readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '');
    const lists = await Promise.all(pids.map((pid) => read(pid, 'cmdline')));
    expect(lists.join('\n')).not.toContain(`token-${CANARY}`);
    const bubblewraps = pids.filter((_, at) => lists[at]?.startsWith('/usr/bin/bwrap') === true);
    const outside = await Promise.all(bubblewraps.map((pid) => read(pid, 'environ')));
    expect(outside.length).toBeGreaterThan(0);
    expect(outside.filter((environ) => environ.startsWith('IMPGEM'))).toEqual([]);
    cancel.abort();
    await running;
  });

  it('has no descriptor but its own three', async () => {
    expect(
      await says('for fd in /proc/self/fd/*; do readlink $fd; done | grep -vE "^(/dev/null|.*pipe.*|/proc/.*)$"'),
    ).toBe('');
  });

  it('writes nowhere but where it may', async () => {
    const places =
      '/ /usr /usr/bin /usr/local/bin /bin /lib /opt /etc /etc/passwd /dev /run /var /impgem /impgem/script /proc /proc/sys /proc/meminfo /proc/self';
    expect(
      await says(`for place in ${places}; do
        if [ -d $place ]; then touch $place/${CANARY} 2>/dev/null && echo "WROTE in $place"; fi
        if [ -f $place ]; then { : >> $place; } 2>/dev/null && echo "WROTE $place"; fi
        chmod 777 $place 2>/dev/null && echo "CHMOD $place"; done`),
    ).toBe('');
  });

  it('has no mount with setuid programs, and no privilege by one', async () => {
    expect(await says('grep -v nosuid /proc/self/mounts')).toBe('');
    expect(await says('cp /usr/bin/id /tmp/id; chmod 4755 /tmp/id; /tmp/id -u')).toBe(`${process.getuid?.() ?? 0}\n`);
  });

  it('cannot make a user namespace, mount, chroot or enter another namespace', async () => {
    const tries = [
      'unshare -Ur true',
      'unshare -Urm mount -t tmpfs none /usr',
      'unshare -m true',
      'mount --bind /workspace /usr',
      'umount -l /etc',
      'mount -o remount,rw,bind /usr',
      'chroot /workspace /bin/true',
      'nsenter -t 1 -m true',
      'mknod /tmp/null c 1 3',
      'hostname escaped',
      'dmesg',
      'sysctl -w kernel.hostname=x',
    ];
    for (const attempt of tries) expect(await says(`${attempt} > /dev/null 2>&1 && echo ESCAPED`), attempt).toBe('');
  });

  it('has a first process without capabilities', async () => {
    expect(await says('grep CapEff /proc/1/status')).toBe('CapEff:\t0000000000000000\n');
  });

  it('has no terminal to put characters into', async () => {
    const perl = `perl -e 'open(my $t, "+<", "/dev/tty") or exit 3; my $c = "x"; ioctl($t, 0x5412, $c) and print "PUSHED"'`;
    expect(await says(`${perl}; echo $?`)).toBe('3\n');
    expect(
      await says(
        `perl -e 'for my $fd (0..2) { open(my $t, "<&=", $fd); my $c = "x"; ioctl($t, 0x5412, $c) and print "PUSHED" }'`,
      ),
    ).toBe('');
  });

  it('cannot hurt processes outside by numbers', async () => {
    const ran = await job.run(`kill -9 1; kill -9 ${process.pid} 2>/dev/null; kill -9 -1; echo survived`);
    expect(ran.exit.reason).toBeUndefined();
    expect((await job.run('echo next')).text).toBe('next\n');
  });

  it('does not reach the loopback or abstract sockets of the host without network', async () => {
    const server = createServer((socket) => socket.end(CANARY));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const abstract = createServer((socket) => socket.end(CANARY));
    await new Promise<void>((resolve) => abstract.listen(`\0impgem-${CANARY}`, resolve));
    const { port } = server.address() as AddressInfo;
    const script = `cat < /dev/tcp/127.0.0.1/${port}
perl -MSocket -e 'socket(my $s, PF_UNIX, SOCK_STREAM, 0); connect($s, pack("S", AF_UNIX)."\\0impgem-${CANARY}") and print <$s>'`;
    try {
      expect((await job.run(`set +e; ${script} 2>/dev/null; true`, { network: 'none' })).text).not.toContain(CANARY);
    } finally {
      server.close();
      abstract.close();
    }
  });

  it('cannot fill memory through /tmp or /dev/shm', async () => {
    const fill =
      'for d in /tmp /dev/shm; do head -c 300M /dev/zero > $d/fill 2>/dev/null && echo FILLED; rm -f $d/fill; done; true';
    const ran = await job.run(`set +e; ${fill}`, { limits: { memory: 128 * MIB } });
    expect(ran.text).not.toContain('FILLED');
  });

  it('cannot raise its limits above those of the worker', async () => {
    const more = { memory: 4096 * MIB, pids: 1000 };
    const forks = await job.run('i=0; while [ $i -lt 300 ]; do i=$((i + 1)); sleep 1000 & echo $i; done', {
      limits: more,
      shell: 'sh',
    });
    expect(forks.exit.code).not.toBe(0);
    expect(forks.text.split('\n').length).toBeLessThan(256);
    const memory = await job.run('head -c 700M /dev/zero | tail -n 1 > /dev/null', { limits: more });
    expect(memory.exit).toMatchObject({ code: 137, reason: 'out of memory' });
  });

  it('leaves nothing behind that is hard to remove', async () => {
    await job.run(
      'cd /impgem/step; mkdir -p a/b/c; echo x > a/b/c/d; chmod 000 a/b; chmod 000 .; ln -s / root 2>/dev/null; true',
    );
    await job.run('cd /impgem/step; name=$(printf %0200d); for _ in {1..25}; do mkdir $name; cd $name; done');
    expect((await job.run('ls /impgem/step | wc -l')).text.trim()).toBe('4');
    await job.sandbox.dispose();
    expect(job.notes).toEqual([]);
  });

  it('takes variables that steer loaders and shells without effect outside', async () => {
    const env = {
      LD_PRELOAD: '/workspace/none.so',
      BASH_ENV: '/workspace/rc',
      ENV: '/workspace/rc',
      IFS: 'x',
      SHELLOPTS: 'xtrace',
    };
    await job.run('echo "echo from-rc" > rc');
    const ran = await job.run('echo ran', { env });
    expect(ran.text).toContain('ran\n');
    expect(ran.text).not.toContain('bwrap');
    expect(ran.exit.code).toBe(0);
  });

  it.each([
    ['a name with =', { 'A=B': 'c' }],
    ['no name', { '': 'c' }],
    ['a NUL character', { A: 'b\0--bind\0/\0/workspace' }],
    ['more than a process can take', { A: 'x'.repeat(200_000) }],
  ])('refuses a variable with %s', async (_, env) => {
    await expect(job.run('echo ran', { env })).rejects.toMatchObject({
      name: 'InputError',
      code: 'environment-invalid',
    });
  });

  it('refuses more variables than a process can take, and says so', async () => {
    const env = Object.fromEntries(Array.from({ length: 40 }, (_, n) => [`V${n}`, 'x'.repeat(100_000)]));
    await expect(job.run('echo ran', { env })).rejects.toMatchObject({ code: expect.any(String) });
    expect((await job.run('echo next')).text).toBe('next\n');
  });
});
