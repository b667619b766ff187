/** A worker that shares no disk with the server, while the server is away: what docs/operations.md says of it. */
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { freePort } from '../support/free-port.ts';
import { type Process, type Product, goOn, startProduct, waits } from '../support/product.ts';

let product: Product;
afterEach(() => product.stop());

const SCRIPT = 'echo 1; touch waiting; until [ -e go ]; do sleep 0.05; done; echo 2; echo x > out';
const PIPELINE = `steps: [{ name: slow, run: "${SCRIPT}", artifacts: [out] }]\n`;

async function start(): Promise<Process> {
  product = await startProduct({ IMPGEM_LISTEN: `127.0.0.1:${await freePort()}` });
  return product.startWorker({ IMPGEM_SERVER_URL: product.url, IMPGEM_DATA: join(product.folder, 'remote') });
}

const logOf = async (run: string): Promise<string> =>
  (await fetch(`${product.url}/api/runs/${run}/logs?job=main&step=slow`)).text();

it('a server that is killed in the middle of a step: its log and artifacts are whole once another is there', async () => {
  await start();
  const { delivery } = await product.push('ann/app', { '.impgem.yml': PIPELINE });
  const folder = await waits(join(product.folder, 'remote', 'work'));
  await product.server.stop('SIGKILL');
  await goOn(folder);
  await product.startServer();
  const run = await product.runOf(delivery);
  expect(run).toMatchObject({ state: 'succeeded', jobs: [{ attempt: 1 }] });
  expect(await logOf(run.id)).toBe('1\n2\n');
  expect(await product.api(`/api/runs/${run.id}/artifacts`)).toMatchObject({ artifacts: [{ path: 'out' }] });
}, 90_000);

it('a worker that is told to stop meanwhile gives its job back', async () => {
  const worker = await start();
  const { delivery } = await product.push('ann/app', { '.impgem.yml': PIPELINE });
  const folder = await waits(join(product.folder, 'remote', 'work'));
  await product.server.stop('SIGKILL');
  await goOn(folder);
  expect(await worker.stop('SIGTERM')).toBe(0);
  await product.startServer();
  await product.startWorker();
  await goOn(join(product.folder, 'data', 'work'));
  expect(await product.runOf(delivery)).toMatchObject({ state: 'succeeded', jobs: [{ attempt: 2 }] });
}, 90_000);
