/** Podman instead of Docker, over its Docker API: what docs/isolation.md says of it. */
import { execa } from 'execa';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDockerExecutor } from '../../src/executors/docker/docker-executor.ts';
import type { Executor } from '../../src/executors/executor.ts';
import { BASE_IMAGE, type EngineBench, openEngineBench } from '../support/docker-engine.ts';
import { killWorker, startDoomedWorker } from '../support/docker-job.ts';
import { type PodmanEngine, startPodmanEngine } from '../support/podman-engine.ts';
import { conformance } from './conformance.ts';
import { contextOf, openJob, recordOutput, taskOf, type TestJob } from './conformance/job.ts';

const BLOCKED = '198.51.100.0/24';
const signal = new AbortController().signal;

let engine: PodmanEngine;
let bench: EngineBench;
beforeAll(async () => {
  engine = await startPodmanEngine();
  bench = await openEngineBench({ host: engine.host, blockedNetworks: [BLOCKED] });
});
afterAll(async () => {
  const leftovers = await bench.leftovers();
  await bench.close();
  await engine.stop();
  expect(leftovers).toEqual([]);
});

conformance('docker, on Podman', {
  create: () => createDockerExecutor(bench.options),
  image: BASE_IMAGE,
  can: {
    bash: true,
    images: true,
    limits: true,
    services: true,
    adoption: true,
    blocksOnOutput: false,
    sealsProc: false,
    engineVariables: { container: 'podman', TERM: 'xterm' },
    silentOnMemory: true,
  },
});

describe('on Podman', () => {
  let executor: Executor;
  beforeAll(async () => {
    executor = await createDockerExecutor(bench.options);
  });
  afterAll(() => executor.close());

  it('goes on with a step whose worker was killed, every byte of its output once', async () => {
    const context = await contextOf(BASE_IMAGE, []);
    const { owner, folder, image, trusted } = context;
    const task = taskOf('seq 1 1000; until [ -e go ]; do sleep 0.02; done; echo end; exit 3');
    const worker = await startDoomedWorker({
      options: bench.options,
      context: { owner, folder, image, trusted },
      task,
    });
    await killWorker(worker);
    const adopted = await executor.adopt(context);
    const output = recordOutput();
    const resumed = adopted!.resume(task.id, output, { signal });
    await output.until('1000\n');
    await execa('touch', [`${folder}/workspace/go`]);
    expect(await resumed).toMatchObject({ code: 3 });
    expect(output.text()).toBe(`${Array.from({ length: 1000 }, (_, i) => `${i + 1}\n`).join('')}end\n`);
    await adopted!.sandbox.dispose();
    await rm(folder, { recursive: true, force: true });
  });

  it('goes on with a service of a job that was let go', async () => {
    const context = await contextOf(BASE_IMAGE, []);
    const job = await executor.prepare(context);
    const service = { name: 'db', run: 'seq 1 1000; until [ -e go ]; do sleep 0.02; done; exit 4', env: {} };
    const { ended } = await job.startService(service, recordOutput(), { signal });
    ended.catch(() => undefined);
    await job.detach();
    const next = await createDockerExecutor({ ...bench.options, workerName: 'next' });
    const adopted = await next.adopt(context);
    const output = recordOutput();
    const resumed = adopted!.resume('service-db', output, { signal });
    await output.until('1000\n');
    await execa('touch', [`${context.folder}/workspace/go`]);
    expect(await resumed).toMatchObject({ code: 4 });
    expect(output.text()).toBe(Array.from({ length: 1000 }, (_, i) => `${i + 1}\n`).join(''));
    await adopted!.sandbox.dispose();
    await next.close();
    await rm(context.folder, { recursive: true, force: true });
  });

  it('empties the variables of an image that are ours to set, which Docker takes away', async () => {
    const image = 'impgem-test-variables';
    const dockerfile = `FROM ${BASE_IMAGE}\nENV CI_COMMIT_TAG=v9.9 IMPGEM_CRON=nightly CI_FOO=2 CIRCLE=kept\n`;
    const build = ['-H', engine.host, 'build', '-q', '-t', image, '-'];
    await execa('docker', build, { input: dockerfile, env: { DOCKER_BUILDKIT: '0' } });
    const job = await openJob(executor, BASE_IMAGE);
    const list = 'env | grep -E "^(CI|IMPGEM)" | LC_ALL=C sort';
    const env = { CI_FOO: 'ours' };
    const output = recordOutput();
    const service = { name: 'listed', image, env, run: list };
    const [ran, { ended }] = await Promise.all([
      job.run(list, { image, env }),
      job.sandbox.startService(service, output, { signal }),
    ]);
    await ended;
    expect(ran.text).toBe('CIRCLE=kept\nCI_COMMIT_TAG=\nCI_FOO=ours\nIMPGEM_CRON=\n');
    expect(output.text()).toBe(ran.text);
    await job.close();
  });

  it('brings files both ways in volumes where the disk is not shared, and output whole', async () => {
    const apart = await createDockerExecutor({ ...bench.options, sharesDisk: false });
    const job = await openJob(apart, BASE_IMAGE);
    const workspace = join(job.context.folder, 'workspace');
    await writeFile(join(workspace, 'file'), 'from the commit\n');
    const ran = await job.run(
      'cat file; rm file; echo made > made; echo "kept of the step" > /impgem/step/output; seq 3; printf end',
    );
    expect(ran.text).toBe('from the commit\n1\n2\n3\nend');
    expect(ran.exit.handover.output).toBe('kept of the step\n');
    await job.sandbox.pull();
    expect(await readdir(workspace)).toEqual(['made']);
    await writeFile(join(workspace, 'later'), 'pushed\n');
    await job.sandbox.push();
    // What a step handed on is looked for while its container ends.
    for (let turn = 0; turn < 5; turn += 1)
      expect(await job.run(`cat later made; echo ${turn} > /impgem/step/output`)).toMatchObject({
        text: 'pushed\nmade\n',
        exit: { code: 0, handover: { output: `${turn}\n` } },
      });
    await job.close();
    await apart.close();
  });

  it('has jobs begin in what was kept warm for them', async () => {
    const warm = await createDockerExecutor({ ...bench.options, warmSlots: 1 });
    await expect.poll(() => engine.docker('ps', '--format', '{{.Names}}'), { timeout: 20_000 }).toMatch(/impgem-warm/);
    const job = await openJob(warm, BASE_IMAGE);
    expect((await job.run('echo ran; pwd')).text).toBe('ran\n/workspace\n');
    await job.close();
    await warm.close();
  });

  it('keeps the output of a service: all of much, and a last line without its end', async () => {
    const job = await openJob(executor, BASE_IMAGE);
    const output = recordOutput();
    const run = 'seq 1 100000; sleep 1; printf Fatal';
    const { ended } = await job.sandbox.startService({ name: 'loud', run, env: {} }, output, { signal });
    await ended;
    expect(output.text()).toBe(`${Array.from({ length: 100_000 }, (_, i) => `${i + 1}\n`).join('')}Fatal`);
    await job.close();
  });

  describe('a user', () => {
    const folder = mkdtempSync(join(tmpdir(), 'impgem-podman-user-'));
    const impgem = (...args: string[]) =>
      execa('node', [join(process.cwd(), 'dist/impgem.js'), ...args], {
        cwd: folder,
        env: {
          DOCKER_HOST: engine.host,
          IMPGEM_DATA: join(folder, 'data'),
          IMPGEM_GITHUB_API_URL: 'http://127.0.0.1:9',
        },
        reject: false,
      });
    afterAll(() => rm(folder, { recursive: true, force: true }));

    it('runs a pipeline with a service by `impgem run`', async () => {
      const serve = `perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(LocalPort => 6379, Listen => 5); while (my $c = $s->accept) { print $c "greeting\\n"; close $c }'`;
      const steps = [{ name: 'read', run: 'cat < /dev/tcp/db/6379; cat file' }];
      const services = { db: { run: serve, ready: { port: 6379 } } };
      await writeFile(join(folder, '.impgem.yml'), JSON.stringify({ jobs: { test: { services, steps } } }));
      await writeFile(join(folder, 'file'), 'of the checkout\n');
      await execa('git', ['init', '-q'], { cwd: folder });
      await execa('git', ['add', '.'], { cwd: folder });
      await execa('git', ['-c', 'user.name=Ann', '-c', 'user.email=ann@example.org', 'commit', '-qm', 'first'], {
        cwd: folder,
      });
      const ran = await impgem('run', '--executor', 'docker');
      expect(ran.stdout).toMatch(/greeting\n.*of the checkout\n/);
      expect(ran.exitCode).toBe(0);
    });

    it('is told by `impgem doctor` what engine it is, that not all holds, and what does', async () => {
      const { stdout } = await impgem('doctor', '--json');
      const { findings } = JSON.parse(stdout) as { findings: { what: string; state: string; message: string }[] };
      const of = (what: string) => findings.find((one) => one.what === what);
      expect(of('docker engine')).toMatchObject({
        state: 'warning',
        message: expect.stringMatching(
          /^Podman engine \d+\.\S+ on linux\/\w+, API .*cgroup v\d \(cgroupfs\), storage overlay/,
        ),
        advice: expect.stringContaining('docs/isolation.md'),
      });
      expect(of('runc')?.message).toMatch(/^runc \d+\.\d+\.\d+/);
      expect(of('disk of the engine')).toMatchObject({ state: 'ok' });
      expect(of('network of steps')).toMatchObject({ state: 'ok' });
    });
  });

  describe('the network of a step', () => {
    /** Says who it is to whoever connects. */
    const serve = (name: string, port: number) => `perl -MIO::Socket::INET -e '
      my $s = IO::Socket::INET->new(LocalPort => ${port}, Listen => 9, ReuseAddr => 1) or die "$!";
      $| = 1; print "up\\n"; while (my $c = $s->accept) { print $c "${name}\\n"; close $c }'`;
    const PORT = 8080;
    const GATEWAY = '192.0.2.1';
    const OUTSIDE = '192.0.2.2';
    const METADATA = '169.254.169.254';
    const FORBIDDEN = '198.51.100.7';
    const connect = (...places: string[]) =>
      places.map((place) => `timeout 1 bash -c 'cat < /dev/tcp/${place}/${PORT}' 2>/dev/null || echo none`).join('\n');

    const processes: ChildProcess[] = [];
    let plain: string;
    let job: TestJob;
    let other: TestJob;
    let neighbour: string;

    async function start(command: string, ...words: string[]): Promise<ChildProcess> {
      const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'inherit'] });
      processes.push(child);
      await once(child.stdout, 'data');
      return child;
    }

    beforeAll(async () => {
      // Behind the engine's host there is a network, with the metadata of a cloud and what the operator blocks.
      const { pid } = await start('unshare', '--net', 'sh', '-c', `ip link set lo up; exec ${serve('outside', PORT)}`);
      const inside = (...words: string[]) => execa('nsenter', [`--net=${engine.network}`, 'ip', ...words]);
      const outside = (...words: string[]) => execa('nsenter', [`--net=/proc/${String(pid)}/ns/net`, 'ip', ...words]);
      await inside('link', 'add', 'uplink', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(pid));
      await inside('address', 'add', `${GATEWAY}/24`, 'dev', 'uplink');
      await inside('link', 'set', 'uplink', 'up');
      for (const address of [`${OUTSIDE}/24`, `${METADATA}/32`, `${FORBIDDEN}/32`])
        await outside('address', 'add', address, 'dev', 'eth0');
      await outside('link', 'set', 'eth0', 'up');
      for (const network of ['169.254.0.0/16', BLOCKED]) await inside('route', 'add', network, 'dev', 'uplink');
      await start('nsenter', `--net=${engine.network}`, 'sh', '-c', `exec ${serve('host', PORT)}`);
      const id = await engine.docker('run', '-d', BASE_IMAGE, 'bash', '-c', `exec ${serve('stranger', PORT)}`);
      plain = await engine.docker('inspect', '-f', '{{.NetworkSettings.IPAddress}}', id);
      [job, other] = await Promise.all([openJob(executor, BASE_IMAGE), openJob(executor, BASE_IMAGE)]);
      const ready = { port: PORT, timeoutMs: 20_000 };
      const service = { name: 'theirs', run: `exec ${serve('neighbour', PORT)}`, env: {}, ready };
      await other.sandbox.startService(service, recordOutput(), { signal });
      neighbour = (await other.run("getent hosts theirs | cut -d' ' -f1")).text.trim();
    });
    afterAll(async () => {
      await Promise.all([job.close(), other.close()]);
      for (const child of processes) child.kill('SIGKILL');
    });

    it('is as said below by our rules alone: without them all is reached', async () => {
      const tried = connect(GATEWAY, OUTSIDE, METADATA, FORBIDDEN, plain);
      const reached = await engine.docker('run', '--rm', BASE_IMAGE, 'bash', '-c', tried);
      expect(reached).toBe('host\noutside\noutside\noutside\nstranger');
      expect((await other.run(connect('theirs', neighbour))).text).toBe('neighbour\nneighbour\n');
    });

    it('leads outside, and not to the host, link-local addresses and blocked networks', async () => {
      expect(job.notes.filter((note) => note.includes('reach'))).toEqual([]);
      const own = String.raw`$(perl -ne 'print join(".", reverse map { hex } $1 =~ /../g) if /^\S+\s+00000000\s+(\S+)/' /proc/net/route)`;
      const tried = `gateway=${own}; [ -n "$gateway" ] && echo found; timeout 5 bash -c "cat < /dev/tcp/$gateway/${PORT}" 2>/dev/null || echo none`;
      expect((await job.run(tried)).text).toBe('found\nnone\n');
      const ran = await job.run(connect(OUTSIDE, GATEWAY, METADATA, FORBIDDEN));
      expect(ran.text).toBe('outside\nnone\nnone\nnone\n');
    });

    it('does not lead to other jobs, by address or name, nor to containers that are not ours', async () => {
      expect(neighbour).toMatch(/^\d+\./);
      expect((await job.run(connect('theirs', neighbour, plain))).text).toBe('none\nnone\nnone\n');
    });
  });
});
