import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { Finding } from '../../src/cli/doctor/finding.ts';
import type { Run } from '../../src/runs/run.ts';
import { type ComposeProject, type ComposeService, startCompose } from '../support/compose.ts';
import { BASE_IMAGE } from '../support/docker-engine.ts';
import { signDelivery } from '../support/fake-forge.ts';
import type { TestRepository } from '../support/git-http.ts';
import { SECRET, TOKEN, isOver, poll, pushBody } from '../support/product.ts';

const SERVICES: ComposeService[] = ['server', 'worker', 'redis', 'docker'];

let project: ComposeProject;
let down = (): Promise<void> => Promise.resolve();
beforeAll(async () => {
  project = await startCompose({
    IMPGEM_API_TOKEN: TOKEN,
    IMPGEM_WEBHOOK_SECRET: SECRET,
    IMPGEM_GITEA_URL: 'http://forge:3001',
    IMPGEM_GITEA_API_URL: 'http://forge:3000/api/v1',
    IMPGEM_GITEA_TOKEN: 'forge-token',
  });
  down = () => project.down();
}, 600_000);
afterAll(() => down(), 120_000);

const repositories = new Map<string, TestRepository>();

/** Commits, sends the webhook, gives the id of the run. */
async function push(name: string, files: Record<string, string>): Promise<{ id: string; sha: string }> {
  const repository = repositories.get(name) ?? (await project.repository(name));
  repositories.set(name, repository);
  const sha = await repository.commit(files);
  const body = JSON.stringify(pushBody(name, 'main', '0'.repeat(40), sha, 'Change'));
  const delivery = randomUUID();
  const answer = await fetch(`${project.url}/webhooks/gitea`, {
    method: 'POST',
    body,
    headers: signDelivery('gitea', SECRET, body, { delivery }),
  });
  expect(answer.status).toBe(202);
  const id = await poll(async () => (await api<{ runs?: string[] }>(`/api/deliveries/${delivery}`)).runs?.[0]);
  return { id, sha };
}

async function api<T>(path: string): Promise<T> {
  return (await (await fetch(`${project.url}${path}`, { headers: { authorization: `Bearer ${TOKEN}` } })).json()) as T;
}

const logOf = async (run: string, step: string): Promise<string> =>
  (await fetch(`${project.url}/api/runs/${run}/logs?job=main&step=${step}`)).text();

async function runOf(id: string): Promise<Run> {
  return poll(async () => {
    const run = await api<Run>(`/api/runs/${id}`);
    return isOver(run) ? run : undefined;
  });
}

async function addressesOf(service: ComposeService): Promise<string[]> {
  const format = '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}';
  return (await project.docker('inspect', '-f', format, await project.idOf(service))).trim().split(' ');
}

/** What an engine in a container goes out by: an address of the machine that all of this runs on. */
async function machineBehindEngine(): Promise<string> {
  const format = '{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}';
  return (await project.docker('inspect', '-f', format, await project.idOf('docker'))).trim();
}

/** By which containers of no network of their own go out. The engine itself does not say it of a bridge that it has just made. */
async function gatewayOfBridge(): Promise<string> {
  const routes = await project.docker('run', '--rm', '--network', 'bridge', BASE_IMAGE, 'cat', '/proc/net/route');
  const [, gateway = ''] = /^\S+\t00000000\t([0-9A-F]{8})/m.exec(routes) ?? [];
  return [...Buffer.from(gateway, 'hex').reverse()].join('.');
}

/** Listens on this machine until the test is over; gives the address and the port. */
async function listenAt(host: string): Promise<[string, number]> {
  const listener = createServer((socket) => socket.end()).listen(0, host);
  onTestFinished(() => void listener.close());
  await once(listener, 'listening');
  return [host, (listener.address() as AddressInfo).port];
}

/** Exits with 0 when something listens there and lets this container in. */
const reach = (host: string, port: number): string => `timeout 2 bash -c ': </dev/tcp/${host}/${port}' 2>/dev/null`;

const PIPELINE = `
steps:
  - name: make
    run: |
      git log -1 --format=%s
      mkdir -m 0700 out && (umask 077; echo secret-looking > out/private.txt)
      echo open > out/open.txt
      mkdir -p ~/.tool && (umask 077; echo kept > ~/.tool/state)
    artifacts: ["out/**"]
    cache: { key: tool, paths: ["~/.tool"] }
  - name: go-on
    run: |
      echo more >> out/private.txt
      cat out/private.txt
      git status --porcelain
`;

describe('docker-compose.yml', { timeout: 120_000 }, () => {
  it('takes a push to a green run, its statuses, logs and artifacts', async () => {
    const { id, sha } = await push('gem/one', { '.impgem.yml': PIPELINE });
    const run = await runOf(id);
    expect({ run, log: await logOf(id, 'make') }).toMatchObject({ run: { state: 'succeeded' } });
    expect(await logOf(id, 'make')).toContain('\nChange\n');
    expect(await logOf(id, 'go-on')).toBe('secret-looking\nmore\n?? out/\n');
    const artifact = await fetch(`${project.url}/api/runs/${id}/artifacts/main/out/private.txt`);
    expect(await artifact.text()).toBe('secret-looking\n');
    await expect
      .poll(async () => (await project.posts()).filter((post) => post.sha === sha).map((post) => post.state))
      .toEqual(['pending', 'success']);
  });

  it('restores what a step that was root left in a cache', async () => {
    const pipeline = `
steps:
  - run: mkdir -m 0700 -p ~/.tool && echo from the step before > ~/.tool/other
  - name: restore
    run: cat ~/.tool/state
    cache: { key: tool, paths: ["~/.tool"] }
`;
    const { id } = await push('gem/one', { '.impgem.yml': pipeline });
    expect({ run: await runOf(id), log: await logOf(id, 'restore') }).toMatchObject({
      run: { state: 'succeeded' },
      log: expect.stringContaining('kept\n'),
    });
  });

  it('leaves nothing of a job on the disk or in the engine', async () => {
    await expect.poll(async () => (await project.exec('worker', 'ls', '/data/work')).all, { timeout: 20_000 }).toBe('');
    await expect
      .poll(async () => (await project.exec('docker', 'docker', 'ps', '-a', '--format', '{{.Names}}')).all, {
        timeout: 20_000,
      })
      .not.toMatch(/impgem-job/);
  });

  it('publishes the server alone', async () => {
    for (const service of SERVICES) {
      const ports = await project.docker(
        'inspect',
        '-f',
        '{{json .HostConfig.PortBindings}}',
        await project.idOf(service),
      );
      if (service === 'server') expect(JSON.parse(ports)).toEqual({ '8000/tcp': [expect.anything()] });
      else expect(JSON.parse(ports) ?? {}).toEqual({});
    }
  });

  it('lets a step reach neither Redis nor server nor the engine nor the worker nor the machine', async () => {
    const serve = `require('net').createServer((socket) => socket.end()).listen(8022)`;
    await project.docker('exec', '-d', await project.idOf('worker'), 'node', '-e', serve);
    const gate = await listenAt(await machineBehindEngine());
    // An address of no network that is blocked: it is reached through the same machine as all that is outside.
    const around = await listenAt(await gatewayOfBridge());
    // Both let the engine in, so that a refusal below means something.
    for (const [host, port] of [['worker', 8022], gate] as const)
      await poll(async () =>
        (await project.exec('docker', 'bash', '-c', reach(host, port))).exitCode === 0 ? true : undefined,
      );
    const targets = (
      await Promise.all(
        (['redis:6379', 'server:8000', 'docker:2376', 'worker:8022'] as const).map(async (target) => {
          const [service, port] = target.split(':') as [ComposeService, string];
          return [service, ...(await addressesOf(service))].map((host) => `${host} ${port}`);
        }),
      )
    ).flat();
    const pipeline = `
steps:
  - name: knock
    run: |
      gateway=$(printf '%d.%d.%d.%d' $(awk '$2=="00000000"{print $3}' /proc/net/route | sed 's/\\(..\\)\\(..\\)\\(..\\)\\(..\\)/0x\\4 0x\\3 0x\\2 0x\\1/'))
      knock() { if ${reach('$1', 0).replace('/0', '/$2').replaceAll("'", '"')}; then echo "reached $1 $2"; fi; }
      for target in ${targets.map((target) => `"${target}"`).join(' ')} "${gate.join(' ')}" "${around.join(' ')}" "$gateway 2376" "$gateway 2375"; do
        knock $target &
      done
      wait
      echo knocked at $gateway
`;
    const { id } = await push('gem/knock', { '.impgem.yml': pipeline });
    const run = await runOf(id);
    const log = await logOf(id, 'knock');
    expect({ run, log }).toMatchObject({ run: { state: 'succeeded' } });
    expect(log.replace(/knocked at 10\.210\.\d+\.\d+\n$/, 'knocked\n')).toBe(`reached ${around.join(' ')}\nknocked\n`);
  });

  it('lets the worker alone reach the engine, and that only with its certificate', async () => {
    const [engine = ''] = await addressesOf('docker');
    expect((await project.exec('worker', 'bash', '-c', reach('docker', 2376))).exitCode).toBe(0);
    for (const service of ['server', 'redis', 'forge'] as const)
      for (const host of ['docker', engine])
        expect((await project.exec(service, 'bash', '-c', reach(host, 2376))).exitCode, `${service} ${host}`).not.toBe(
          0,
        );
    const ask = `require('https').get('https://docker:2376/_ping', { rejectUnauthorized: false }, (a) => console.log(a.statusCode)).on('error', (e) => console.log(e.code))`;
    const asked = await project.exec('worker', 'node', '-e', ask);
    expect(asked.all).toMatch(/ALERT_BAD_CERTIFICATE$/);
    const doctor = await project.exec('worker', 'impgem', 'doctor', '--json');
    for (const what of ['docker engine', 'disk of the engine'])
      expect((JSON.parse(doctor.all) as { findings: Finding[] }).findings).toContainEqual(
        expect.objectContaining({ what, state: 'ok' }),
      );
  });

  it('carries a run through the death of worker, Redis and server, and runs on after that of the engine', async () => {
    const pipeline = `
steps:
  - name: long
    run: |
      echo before
      until test -e go; do sleep 0.1; done
      echo after
`;
    const { id } = await push('gem/crash', { '.impgem.yml': pipeline });
    await poll(async () => ((await logOf(id, 'long')).includes('before') ? true : undefined));
    for (const service of ['worker', 'redis', 'server'] as const) await project.crash(service);
    await project.locate();
    await project.exec('docker', 'sh', '-c', 'for each in /data/work/*/workspace; do touch $each/go; done');
    expect((await runOf(id)).state).toBe('succeeded');
    expect(await logOf(id, 'long')).toBe('before\nafter\n');
    await project.crash('docker');
    const next = await push('gem/crash', { '.impgem.yml': 'steps: [{ name: next, run: echo well }]\n' });
    expect(await runOf(next.id)).toMatchObject({ state: 'succeeded' });
  });

  it('gives jobs to a worker that shares no disk, and takes its log and artifacts over HTTP', async () => {
    await project.compose('up', '-d', '--no-build', 'distant');
    const { id } = await push('gem/distant', {
      '.impgem.yml': `jobs:\n  main:\n    runs-on: [elsewhere]\n${PIPELINE.replaceAll(/^/gm, '    ')}`,
    });
    const run = await runOf(id);
    expect({ run, log: await logOf(id, 'make') }).toMatchObject({ run: { state: 'succeeded' } });
    expect(await logOf(id, 'go-on')).toBe('secret-looking\nmore\n?? out/\n');
    const artifact = await fetch(`${project.url}/api/runs/${id}/artifacts/main/out/private.txt`);
    expect(await artifact.text()).toBe('secret-looking\n');
    await project.compose('stop', 'distant');
  });

  it('runs nothing but the engine with rights', async () => {
    expect((await project.exec('server', 'id', '-u')).all).toBe('1000');
    expect((await project.exec('worker', 'id', '-u')).all).toBe('1000');
  });
});
