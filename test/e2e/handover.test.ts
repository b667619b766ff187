/** A worker that is told to stop, and the next one: what runs in containers goes on meanwhile. */
import { execa } from 'execa';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { removeInstallation, startDockerEngine } from '../support/docker-engine.ts';
import { type EngineProxy, startEngineProxy } from '../support/engine-proxy.ts';
import { type Process, type Product, startProduct } from '../support/product.ts';

let product: Product;
beforeAll(async () => {
  await startDockerEngine();
  product = await startProduct({ IMPGEM_EXECUTOR: 'docker' });
});
afterAll(async () => {
  await product.stop();
  await removeInstallation(join(product.folder, 'data'));
});

/** Never silent. */
const CHATTY = 'i=0; until [ -e go ]; do echo "line $i"; i=$((i+1)); sleep 0.01; done; echo "lines: $i"';

it('ends nothing of a step that prints while its worker stops, and the log has each byte once', async () => {
  const first = await product.startWorker();
  const pipeline = `steps: [{ name: chatty, run: ${JSON.stringify(CHATTY)} }]\n`;
  const { delivery } = await product.push('gem/chatty', { '.impgem.yml': pipeline });
  const { id } = await product.runOf(delivery, (run) => run.jobs[0]?.steps[0]?.state === 'running');
  const text = async (): Promise<string> =>
    (await fetch(`${product.url}/api/runs/${id}/logs?job=main&step=chatty`)).text();
  await expect.poll(text, { timeout: 30_000 }).toContain('line 20\n');
  await stopSoon(first);
  const handedOver = (await text()).length;
  const second = await product.startWorker();
  await expect.poll(async () => (await text()).length, { timeout: 30_000 }).toBeGreaterThan(handedOver);
  await go();
  const run = await product.runOf(delivery);
  // Also what an earlier worker knew of it.
  const step = { exitCode: 0, image: expect.stringMatching(/^sha256:[0-9a-f]{64}$/) };
  expect(run).toMatchObject({ state: 'succeeded', jobs: [{ attempt: 1, steps: [step] }] });
  const log = await text();
  const [, count] = /lines: (\d+)\n$/.exec(log) ?? [];
  const lines = Array.from({ length: Number(count) }, (_, i) => `line ${i}\n`).join('');
  expect(log).toBe(`${lines}lines: ${count}\n`);
  await stopSoon(second);
}, 120_000);

/** In whichever container of the installation is the step's. */
async function go(): Promise<void> {
  for (const id of await containers()) await execa('docker', ['exec', id, 'touch', '/workspace/go'], { reject: false });
}

/** Of all of the installation, ids or what the format says. */
async function containers(format = '{{.ID}}'): Promise<string[]> {
  const instance = createHash('sha256').update(join(product.folder, 'data')).digest('hex').slice(0, 12);
  const { stdout } = await execa('docker', [
    'ps',
    '-a',
    '--format',
    format,
    '--filter',
    `label=dev.impgem.instance=${instance}`,
  ]);
  return stdout.split('\n').filter(Boolean);
}

/** It is told to stop, and does within two seconds; one more is for a machine that is busy. */
async function stopSoon(worker: Process): Promise<void> {
  const began = performance.now();
  expect(await worker.stop('SIGTERM')).toBe(0);
  expect(performance.now() - began).toBeLessThan(3000);
}

const MAKES = /POST \S*\/containers\/(create|\w+\/start)/;

async function startEngineProxyOfTest(): Promise<EngineProxy> {
  const proxy = await startEngineProxy();
  onTestFinished(() => proxy.close());
  proxy.delay(MAKES, 6000);
  return proxy;
}

it('stops within two seconds while a slow engine makes containers that no job has yet, and the next worker finds them', async () => {
  const proxy = await startEngineProxyOfTest();
  const asked = proxy.asked(MAKES);
  const worker = await product.startWorker({ DOCKER_HOST: proxy.host });
  await asked;
  await expect.poll(() => containers(), { timeout: 20_000 }).not.toEqual([]);
  await stopSoon(worker);
  const left = await containers();
  expect(left).not.toEqual([]);
  const next = await product.startWorker();
  await expect
    .poll(async () => (await containers()).filter((id) => left.includes(id)), { timeout: 30_000 })
    .toEqual([]);
  await stopSoon(next);
}, 120_000);

it('stops within two seconds while a slow engine prepares a job, which the next worker starts over', async () => {
  const proxy = await startEngineProxyOfTest();
  const { delivery } = await product.push('gem/slow', { '.impgem.yml': 'steps: [{ run: echo done }]\n' });
  const worker = await product.startWorker({ DOCKER_HOST: proxy.host });
  await product.runOf(delivery, (run) => run.jobs[0]?.state === 'running');
  await expect
    .poll(() => containers('{{.Names}}'), { timeout: 30_000 })
    .toContainEqual(expect.stringContaining('impgem-job.'));
  await stopSoon(worker);
  const next = await product.startWorker();
  const run = await product.runOf(delivery);
  expect(run).toMatchObject({ state: 'succeeded', jobs: [{ attempt: 2, steps: [{ exitCode: 0 }] }] });
  await stopSoon(next);
}, 120_000);
