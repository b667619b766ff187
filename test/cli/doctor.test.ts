import { execa } from 'execa';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { room } from '../../src/cli/doctor/check-engine.ts';
import { isOlder } from '../../src/cli/doctor/finding.ts';
import { startDockerEngine } from '../support/docker-engine.ts';
import { startRedis } from '../support/redis.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'impgem-doctor-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function doctor(env: Record<string, string>, ...args: string[]) {
  const ran = await execa('node', [join(process.cwd(), 'dist/impgem.js'), 'doctor', ...args], {
    reject: false,
    cwd: folder,
    extendEnv: false,
    env: { PATH: process.env['PATH']!, IMPGEM_DATA: folder, IMPGEM_GITHUB_API_URL: 'http://127.0.0.1:9', ...env },
  });
  return { code: ran.exitCode, text: ran.stdout };
}

async function findings(env: Record<string, string>) {
  const { code, text } = await doctor(env, '--json');
  const report = JSON.parse(text) as { ok: boolean; findings: { what: string; state: string; message: string }[] };
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

it('warns when the engine has little room for images, and says nothing where it cannot tell', () => {
  const of = (free: number) => room({ room: { folder: '/images', free } });
  expect(of(4.9e9)).toMatchObject([{ state: 'warning', message: '/images, 4.9 GB free' }]);
  expect(of(5e9)).toMatchObject([{ state: 'ok' }]);
  expect(room({})).toEqual([]);
});

it('compares versions as numbers', () => {
  expect(isOlder('1.1.5+ds1', '1.1.12')).toBe(true);
  expect(isOlder('1.2.8', '1.2.8')).toBe(false);
  expect(isOlder('20.10', '20.10.24')).toBe(true);
  expect(isOlder('2.39.5', '2.35.2')).toBe(false);
});
