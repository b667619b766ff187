/** Podman instead of Docker, over its Docker API: what docs/isolation.md says of it. */
import { execa } from 'execa';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
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
  expect(await bench.leftovers()).toEqual([]);
  await bench.close();
  await engine.stop();
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

  it('goes on with a step whose worker was killed, and with its service', async () => {
    const context = await contextOf(BASE_IMAGE, []);
    const { owner, folder, image, trusted } = context;
    const task = taskOf('seq 1 1000; until [ -e go ]; do sleep 0.02; done; echo end; exit 3');
    const worker = await startDoomedWorker({ options: bench.options, context: { owner, folder, image, trusted }, task });
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

  it('keeps the output of a service: all of much, and a last line without its end', async () => {
    const job = await openJob(executor, BASE_IMAGE);
    const output = recordOutput();
    const run = 'seq 1 200000; sleep 1; printf Fatal';
    const { ended } = await job.sandbox.startService({ name: 'loud', run, env: {} }, output, { signal });
    await ended;
    expect(output.text().slice(-12)).toBe('200000\nFatal'.slice(-12));
    expect(output.bytes().length).toBe(1_288_895 + 'Fatal'.length);
    await job.close();
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
      places.map((place) => `timeout 5 bash -c 'cat < /dev/tcp/${place}/${PORT}' 2>/dev/null || echo none`).join('\n');

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
