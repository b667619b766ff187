/** The engine of this machine behind TLS with client certificates, as DOCKER_HOST=tcp://, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH reach one. */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer, type Server } from 'node:tls';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createDockerExecutor } from '../../src/executors/docker/docker-executor.ts';
import type { EngineAddress } from '../../src/executors/docker/options.ts';
import { probeEngine } from '../../src/executors/docker/probe-engine.ts';
import { tlsTrouble } from '../../src/executors/docker/tls-trouble.ts';
import { makeAuthority } from '../support/certificates.ts';
import { BASE_IMAGE, type EngineBench, openEngineBench } from '../support/docker-engine.ts';
import { openJob } from './conformance/job.ts';

let bench: EngineBench;
let folder: string;
let server: Server;
let good: EngineAddress & { host: string; certPath: string };
let strangers: string;

beforeAll(async () => {
  bench = await openEngineBench();
  folder = await mkdtemp(join(tmpdir(), 'impgem-tls-'));
  const authority = await makeAuthority(join(folder, 'ours'));
  const engine = await authority.sign('engine', 'subjectAltName = DNS:localhost');
  const read = (name: string) => readFile(join(engine, name));
  const [ca, cert, key] = await Promise.all(['ca.pem', 'cert.pem', 'key.pem'].map(read));
  server = createServer({ ca: ca!, cert: cert!, key: key!, requestCert: true, rejectUnauthorized: true }, (socket) => {
    const behind = connect('/var/run/docker.sock');
    socket.pipe(behind).pipe(socket);
    socket.on('error', () => behind.destroy());
    behind.on('error', () => socket.destroy());
  });
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const certPath = await authority.sign('client', 'extendedKeyUsage = clientAuth');
  good = { host: `tcp://localhost:${port}`, tlsVerify: true, certPath };
  strangers = await (await makeAuthority(join(folder, 'theirs'))).sign('client', 'extendedKeyUsage = clientAuth');
});
afterAll(async () => {
  server.close();
  await bench.close();
  await rm(folder, { recursive: true, force: true });
});

it('runs a job', async () => {
  expect(await probeEngine(good, 5000)).toMatchObject({ ok: true });
  const executor = await createDockerExecutor({ ...bench.options, ...good });
  const job = await openJob(executor, BASE_IMAGE);
  expect(await job.run('echo over TLS')).toMatchObject({ text: 'over TLS\n', exit: { code: 0 } });
  await job.close();
  await executor.close();
  expect(await bench.leftovers()).toEqual([]);
});

/** The good folder with some of its files exchanged. */
async function certificates(name: string, files: Record<string, string | undefined>): Promise<string> {
  const place = join(folder, name);
  await cp(good.certPath, place, { recursive: true });
  for (const [file, from] of Object.entries(files))
    if (from === undefined) await rm(join(place, file));
    else await writeFile(join(place, file), from);
  return place;
}

it.each<[string, () => Promise<EngineAddress>, RegExp]>([
  [
    'no folder of certificates',
    () => Promise.resolve({ host: good.host, tlsVerify: true }),
    /DOCKER_CERT_PATH must name/,
  ],
  [
    'a file that is missing',
    async () => ({ ...good, certPath: await certificates('missing', { 'key.pem': undefined }) }),
    /key\.pem cannot be read/,
  ],
  [
    'a file that is no certificate',
    async () => ({ ...good, certPath: await certificates('rubbish', { 'cert.pem': 'rubbish' }) }),
    /not in PEM format/,
  ],
  [
    'another authority',
    async () => ({
      ...good,
      certPath: await certificates('ca', { 'ca.pem': await readFile(join(strangers, 'ca.pem'), 'utf8') }),
    }),
    /not of the authority in ca\.pem/,
  ],
  [
    'a key of another certificate',
    async () => ({
      ...good,
      certPath: await certificates('key', { 'key.pem': await readFile(join(strangers, 'key.pem'), 'utf8') }),
    }),
    /key\.pem does not belong to cert\.pem/,
  ],
  [
    'another name',
    () => Promise.resolve({ ...good, host: good.host.replace('localhost', '127.0.0.1') }),
    /for other names than the one in DOCKER_HOST/,
  ],
])('says what is wrong with %s, to a worker and to impgem doctor', async (_, address, sentence) => {
  const wrong = await address();
  await expect(createDockerExecutor({ ...bench.options, ...wrong })).rejects.toThrow(sentence);
  expect(await probeEngine(wrong, 5000)).toMatchObject({ ok: false, reason: expect.stringMatching(sentence) });
});

// A server of Node hangs up on a stranger's certificate; engines answer with an alert, as test/e2e/compose.test.ts sees.
it.each([
  'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED',
  'ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE',
  'ERR_SSL_TLSV1_ALERT_UNKNOWN_CA',
])('knows %s as a certificate that is not accepted', (code) => {
  expect(tlsTrouble(Object.assign(new Error('alert'), { code }))).toMatch(/does not accept the certificate/);
});
