/** What a step must not be able to do in any executor. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { STEP_PATHS } from '../../../src/executors/executor.ts';
import type { Bench } from '../conformance.ts';

export function describeIsolation(bench: Bench): void {
  it('shows the objects of the mirror read-only', async () => {
    const objects = mkdtempSync(join(tmpdir(), 'impgem-objects-'));
    try {
      await mkdir(join(objects, 'ab'));
      await writeFile(join(objects, 'ab', 'cd'), 'object');
      const job = await bench.job({ objects });
      const script = `cd ${STEP_PATHS.objects}; cat ab/cd; for try in "echo x > ab/cd" "rm ab/cd" "touch new" "chmod 777 ab"; do
        bash -c "$try" 2>/dev/null && echo "WROTE: $try"; done; true`;
      expect((await job.run(script)).text).toBe('object');
    } finally {
      await rm(objects, { recursive: true, force: true });
    }
  });

  it('has no capability that a build does not need, and gains none', async () => {
    const job = await bench.job();
    const ran = await job.run('grep -E "^(CapEff|NoNewPrivs|CapBnd):" /proc/self/status');
    expect(ran.text).toMatch(/NoNewPrivs:\t1/);
    const effective = BigInt(`0x${/CapEff:\t([0-9a-f]+)/.exec(ran.text)?.[1] ?? 'f'}`);
    const bit = (n: number): bigint => (effective >> BigInt(n)) & 1n;
    // SYS_MODULE, SYS_RAWIO, SYS_PTRACE, SYS_ADMIN, SYS_BOOT, SYS_TIME, NET_ADMIN, NET_RAW, SYSLOG, BPF.
    for (const n of [16, 17, 19, 21, 22, 25, 12, 13, 34, 39]) expect(bit(n), `capability ${n}`).toBe(0n);
  });

  it('leaves no folder that is too deep to be removed', async () => {
    const job = await bench.job();
    const ran = await job.run(`deep() { local name=$(printf %0200d); for _ in {1..25}; do mkdir $name; cd $name; done; }
      cd /impgem/home; deep; cd /impgem/step; deep; cd /workspace; deep; echo deep`);
    expect(ran.text).toBe('deep\n');
    await job.sandbox.dispose();
    await bench.executor().removeFolder(job.context.folder);
    expect(existsSync(job.context.folder)).toBe(false);
  });

  it('has only its own processes, and no other step of the job', async () => {
    const job = await bench.job();
    await job.run('mkfifo gate seen');
    const other = job.run('exec 3<> gate; echo > seen; read -r _ <&3; : canary-of-the-other-step');
    const ran = await job.run(
      'read -r _ < seen; cat /proc/[0-9]*/cmdline 2>/dev/null | tr "\\0" "\\n"; ls -d /proc/[0-9]* | wc -l; echo > gate',
    );
    await other;
    expect(ran.text).not.toContain('vitest');
    expect(Number(ran.text.trim().split('\n').at(-1))).toBeLessThan(12);
  });

  it('has no network at all with network: none', async () => {
    const job = await bench.job();
    const ran = await job.run('tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d " "; wc -l < /proc/net/route', {
      network: 'none',
    });
    expect(ran.text).toMatch(/^lo\n[01]\n$/);
  });

  it('cannot reach a disk, memory or kernel device', async () => {
    const job = await bench.job();
    const ran = await job.run(`for device in mem kmem port sda vda nvme0n1 kvm fuse; do
      [ -e /dev/$device ] && head -c 1 /dev/$device > /dev/null 2>&1 && echo "READ $device"; done
      mknod /tmp/disk b 254 0 2>/dev/null && head -c 1 /tmp/disk > /dev/null 2>&1 && echo "READ made"; true`);
    expect(ran.text).toBe('');
  });

  it('cannot change the kernel or mount', async () => {
    const job = await bench.job();
    const files = bench.can.sealsProc ? '/proc' : '/proc/sys /proc/sysrq-trigger /proc/irq /proc/bus /proc/fs';
    // Opened for appending and never written: where the test fails, this machine must not suffer.
    const ran =
      await job.run(`find ${files} '(' -path '/proc/[0-9]*' -o -path /proc/pressure ')' -prune -o -type f -print 2>/dev/null |
      while read -r file; do { : >> "$file"; } 2>/dev/null && echo "WRITABLE $file"; done
      mount -t tmpfs none /workspace 2>/dev/null && echo "MOUNTED"
      mount -o remount,rw / 2>/dev/null && echo "REMOUNTED"
      umount -l /workspace 2>/dev/null && echo "UNMOUNTED"; true`);
    expect(ran.text).toBe('');
  });

  it('never sees a socket of the engine', async () => {
    const job = await bench.job();
    const ran = await job.run('ls /var/run/docker.sock /run/docker.sock /run/containerd 2>/dev/null; true');
    expect(ran.text).toBe('');
  });
}
