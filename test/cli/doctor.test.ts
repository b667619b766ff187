import { execa } from 'execa';
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { text as textOf } from 'node:stream/consumers';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, onTestFinished } from 'vitest';
import { roomFinding, runc } from '../../src/cli/doctor/check-engine.ts';
import { dataFinding } from '../../src/cli/doctor/check-programs.ts';
import { type Finding, isOlder } from '../../src/cli/doctor/finding.ts';
import { startDockerEngine } from '../support/docker-engine.ts';
import { startRedis } from '../support/redis.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'impgem-doctor-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** `socket`: stands at the usual place of an engine's, for this process alone. */
async function doctor(env: Record<string, string>, args: string[] = [], socket?: string) {
  const command = ['node', join(process.cwd(), 'dist/impgem.js'), 'doctor', ...args];
  const script = `mount --bind ${socket} /var/run/docker.sock && exec "$0" "$@"`;
  const [program = '', ...words] = socket === undefined ? command : ['unshare', '-m', 'sh', '-ec', script, ...command];
  const ran = await execa(program, words, {
    reject: false,
    cwd: folder,
    extendEnv: false,
    env: { PATH: process.env['PATH']!, IMPGEM_DATA: folder, IMPGEM_GITHUB_API_URL: 'http://127.0.0.1:9', ...env },
  });
  return { code: ran.exitCode, text: ran.stdout };
}

async function findings(env: Record<string, string>, socket?: string) {
  const { code, text } = await doctor(env, ['--json'], socket);
  const report = JSON.parse(text) as { ok: boolean; findings: Finding[] };
  // Whatever is looked at: a finding that is not well says what to do.
  for (const one of report.findings)
    if (one.state !== 'ok') expect(one.advice, one.what).toMatch(/^[A-Z].*\.$|docker pull/);
  return { code, ok: report.ok, of: (what: string) => report.findings.find((one) => one.what === what) };
}

it('finds the engine, its runc, and that it sees our disk', async () => {
  await startDockerEngine();
  const report = await findings({});
  expect(report.of('docker engine')).toMatchObject({
    state: 'ok',
    message: expect.stringMatching(/cgroup v\d .*storage/),
  });
  expect(report.of('disk of the engine')).toMatchObject({ state: 'ok' });
  expect(report.of('network of steps')).toMatchObject({ state: 'ok' });
  expect(report.of('images and containers')?.message).toMatch(/^\/\S+, \d+\.\d GB free$/);
  expect(report.of('runc')?.message).toMatch(/^runc \d/);
  expect(report.of('git')).toMatchObject({ state: 'ok' });
  expect(report.of('steps')).toMatchObject({ state: 'ok' });
  expect(report).toMatchObject({ code: 0, ok: true });
});

it('fails, and says what to do, when the engine that is asked for is away', async () => {
  const report = await findings({ IMPGEM_EXECUTOR: 'docker', DOCKER_HOST: 'unix:///nowhere.sock' });
  expect(report.of('docker engine')).toMatchObject({ state: 'failed', advice: expect.stringContaining('DOCKER_HOST') });
  expect(report).toMatchObject({ code: 1, ok: false });
  const shown = await doctor({ IMPGEM_EXECUTOR: 'docker', DOCKER_HOST: 'unix:///nowhere.sock' });
  expect(shown.text).toMatch(/^FAILED +docker engine +no Docker engine answers at unix:\/\/\/nowhere.sock: /m);
});

it('fails when Redis does not answer', async () => {
  const report = await findings({ REDIS_URL: 'unix:///nowhere.sock' });
  expect(report.of('redis')).toMatchObject({ state: 'failed', message: expect.stringContaining('ENOENT') });
});

it('warns of a Redis that may lose with the power what it has taken', async () => {
  const server = await startRedis();
  try {
    expect((await findings({ REDIS_URL: server.url })).of('redis')).toMatchObject({ state: 'ok' });
    await execa('redis-cli', ['-s', server.url.replace('unix://', ''), 'config', 'set', 'appendfsync', 'everysec']);
    const report = await findings({ REDIS_URL: server.url });
    expect(report.of('redis')).toMatchObject({ state: 'warning', message: expect.stringContaining('everysec') });
  } finally {
    await server.stop();
  }
});

it('asks the forge with its token, and the public address for a server', async () => {
  const seen: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    seen.push(request.headers.authorization);
    const isHook = request.method === 'POST' && request.url === '/webhooks/github';
    response.writeHead(401, isHook ? { 'content-type': 'application/problem+json; charset=utf-8' } : {});
    response.end(isHook ? '{"type":"urn:impgem:error:signature-missing"}' : '{}');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    const env = { IMPGEM_GITHUB_API_URL: url, IMPGEM_GITHUB_TOKEN: 'expired', IMPGEM_PUBLIC_URL: url };
    const report = await findings(env);
    expect(report.of('public address')).toMatchObject({ state: 'ok' });
    expect(report.of('forge github')).toMatchObject({ state: 'failed', message: `${url} refuses the token (401)` });
    expect(seen).toContain('Bearer expired');
  } finally {
    server.close();
  }
});

it('fails when what stands in front of the server does not let deliveries through', async () => {
  const server = createServer((request, response) => {
    response.writeHead(request.method === 'POST' ? 403 : 200).end('{}');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    const report = await findings({ IMPGEM_PUBLIC_URL: url });
    expect(report.of('public address')).toMatchObject({
      state: 'failed',
      message: expect.stringContaining('/webhooks/github'),
    });
  } finally {
    server.close();
  }
});

it('says what to pull where the engine has no image to try things with', async () => {
  await startDockerEngine();
  const report = await findings({ IMPGEM_IMAGE: 'impgem-test/absent:1' });
  expect(report.of('disk of the engine')).toMatchObject({
    state: 'warning',
    advice: expect.stringContaining('docker pull impgem-test/absent:1'),
  });
});

it('warns when a disk has little room, or few inodes', () => {
  const files = Infinity;
  expect(roomFinding('/images', { bytes: 4.9e9, files })).toMatchObject({
    state: 'warning',
    message: '/images, 4.9 GB free',
  });
  expect(roomFinding('/images', { bytes: 5e9, files })).toMatchObject({ state: 'ok' });
  for (const of of [roomFinding, dataFinding]) {
    const message = '/disk, 90.0 GB free, but only 12 inodes';
    expect(of('/disk', { bytes: 9e10, files: 12 })).toMatchObject({ state: 'warning', message });
    expect(of('/disk', { bytes: 9e10, files: 60_000 })).toMatchObject({ state: 'ok' });
  }
});

it('compares versions as numbers, and what comes before a release as older', () => {
  expect(isOlder('1.1.5+ds1', '1.1.12')).toBe(true);
  expect(isOlder('1.2.8', '1.2.8')).toBe(false);
  expect(isOlder('20.10', '20.10.24')).toBe(true);
  expect(isOlder('2.39.5', '2.35.2')).toBe(false);
  expect(isOlder('1.4.0-rc.1', '1.4.0')).toBe(true);
  expect(isOlder('1.4.0-rc.1', '1.4.0-rc.3')).toBe(true);
  expect(isOlder('1.4.0', '1.4.0-rc.3')).toBe(false);
  expect(isOlder('1.0.0~rc93', '1.0.0')).toBe(true);
});

it.each([
  ['1.1.13', 'CVE-2024-45310'],
  ['1.2.0-rc.2', 'CVE-2024-45310'],
  ['1.4.0-rc.1', 'CVE-2025-31133'],
])('knows the holes of runc %s', (version, hole) => {
  expect(runc({ runc: version })).toMatchObject({ state: 'warning', message: expect.stringContaining(hole) });
});

it.each(['1.2.8', '1.3.3', '1.4.0-rc.3', '1.4.0', '1.5.1'])('knows no hole of runc %s', (version) => {
  expect(runc({ runc: version })).toMatchObject({ state: 'ok' });
});

interface Asked {
  url: string;
  body: { Labels?: Record<string, string> };
}

/** Has every image; `answer` is asked first, and leaves a call without an answer by `hang`. */
async function fakeEngine(answer: (url: string) => [status: number, message: string] | 'hang' | undefined) {
  const asked: Asked[] = [];
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = request.url ?? '';
    asked.push({ url, body: JSON.parse((await textOf(request)) || '{}') as Asked['body'] });
    const given = answer(url);
    if (given === 'hang') return;
    response.setHeader('content-type', 'application/json');
    if (given === undefined) response.end('{"Version":"28.0.0","ApiVersion":"1.48","Components":[]}');
    else response.writeHead(given[0]).end(JSON.stringify({ message: given[1] }));
  };
  const server = createServer((request, response) => void serve(request, response)).listen(join(folder, 'engine.sock'));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  await once(server, 'listening');
  return { host: `unix://${join(folder, 'engine.sock')}`, asked };
}

it('ends, and says so, when the engine answers some calls and others never', async () => {
  const { host } = await fakeEngine((url) => (url.endsWith('/info') ? 'hang' : undefined));
  const report = await findings({ DOCKER_HOST: host });
  expect(report.of('docker engine')).toMatchObject({
    state: 'failed',
    message: expect.stringMatching(/did not say how it is set up within \d+ s/),
    advice: expect.stringContaining('restart it'),
  });
  expect(report).toMatchObject({ code: 1, ok: false });
});

it.each([
  ['hangs', 'hang', /no answer within/],
  ['answers with an error', [500, 'no'], /answers 500/],
] as const)(
  'warns where nobody asked for an engine, and what is at its usual place %s: `auto` takes the sandbox',
  async (_, answer, fault) => {
    await startDockerEngine();
    const { host } = await fakeEngine(() => (answer === 'hang' ? answer : [...answer]));
    const socket = host.replace('unix://', '');
    const report = await findings({}, socket);
    expect(report.of('docker engine')).toMatchObject({
      state: 'warning',
      message: expect.stringMatching(fault),
      advice: expect.stringContaining('if steps are to run in containers'),
    });
    expect(report.of('steps')).toMatchObject({ state: 'ok', message: expect.stringContaining('in the sandbox') });
    expect(report).toMatchObject({ code: 0, ok: true });
    const asked = await findings({ IMPGEM_EXECUTOR: 'docker' }, socket);
    expect(asked.of('docker engine')).toMatchObject({ state: 'failed' });
    expect(asked.of('steps')).toMatchObject({ state: 'failed' });
  },
);

it('fails with an engine that answers and is full: a worker would take it', async () => {
  const full: [number, string] = [500, 'mkdir /var/lib/docker/overlay2/x: no space left on device'];
  const { host } = await fakeEngine((url) => (url.includes('/containers/create') ? full : undefined));
  const report = await findings({ DOCKER_HOST: host });
  expect(report.of('docker engine')).toMatchObject({
    state: 'failed',
    message: expect.stringContaining('is full'),
    advice: expect.stringContaining('docker system df'),
  });
  expect(report.of('steps')).toMatchObject({ state: 'failed' });
  expect(report).toMatchObject({ code: 1, ok: false });
});

it('labels what it makes as a worker of the installation does: one finds it when doctor is killed', async () => {
  const { host, asked } = await fakeEngine((url) => (url.includes('/containers/create') ? [400, 'no'] : undefined));
  await findings({ DOCKER_HOST: host });
  const made = asked.filter(({ url }) => url.includes('/containers/create'));
  expect(made).toHaveLength(2);
  const instance = createHash('sha256').update(folder).digest('hex').slice(0, 12);
  for (const { body } of made)
    expect(body.Labels).toMatchObject({
      'dev.impgem.instance': instance,
      'dev.impgem.slot': '',
      'dev.impgem.process': expect.stringMatching(/./),
    });
});

it('fails where DOCKER_HOST is set and wrong: `auto` takes nothing else in its place', async () => {
  const away = await findings({ DOCKER_HOST: 'unix:///nowhere.sock' });
  expect(away.of('docker engine')).toMatchObject({ state: 'failed', advice: expect.stringContaining('DOCKER_HOST') });
  expect(away).toMatchObject({ code: 1, ok: false });
  const bare = await findings({ DOCKER_HOST: 'tcp://127.0.0.1:2376', DOCKER_TLS_VERIFY: '1' });
  expect(bare.of('docker engine')).toMatchObject({
    state: 'failed',
    advice: expect.stringContaining('DOCKER_CERT_PATH'),
  });
});

it('leaves an engine alone that no worker would use', async () => {
  const { host, asked } = await fakeEngine(() => undefined);
  const report = await findings({ IMPGEM_EXECUTOR: 'sandbox', DOCKER_HOST: host });
  expect(report.of('docker engine')).toMatchObject({ state: 'skipped' });
  expect(report.of('steps')).toMatchObject({ state: 'ok', message: expect.stringContaining('in the sandbox') });
  expect(asked).toEqual([]);
});

it('says in JSON, too, which setting is not valid', async () => {
  const { code, text } = await doctor({ IMPGEM_CONCURRENCY: 'many' }, ['--json']);
  expect(code).toBe(64);
  expect(JSON.parse(text)).toMatchObject({
    ok: false,
    findings: [
      {
        what: 'settings',
        state: 'failed',
        message: expect.stringMatching(/IMPGEM_CONCURRENCY: must be a whole number/),
        advice: expect.stringContaining('impgem settings'),
      },
    ],
  });
});

it('warns of a forge that is in trouble, and fails where no forge can reach us', async () => {
  const server = createServer((_, response) => response.writeHead(500).end()).listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const elsewhere = await findings({ IMPGEM_GITHUB_API_URL: url, IMPGEM_PUBLIC_URL: 'http://ci.invalid' });
  expect(elsewhere.of('forge github')).toMatchObject({ state: 'warning', message: `${url} answers 500` });
  expect(elsewhere.of('public address')).toMatchObject({ state: 'failed' });
  // Of another container or machine: nothing can be said of it.
  const loopback = await findings({ IMPGEM_PUBLIC_URL: 'http://localhost:9' });
  expect(loopback.of('public address')).toMatchObject({ state: 'warning' });
});
