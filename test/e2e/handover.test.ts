/** A worker that is told to stop, and the next one: what runs in containers goes on meanwhile. */
import { execa } from 'execa';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { removeInstallation, startDockerEngine } from '../support/docker-engine.ts';
import { type Product, startProduct } from '../support/product.ts';

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
  expect(await first.stop('SIGTERM')).toBe(0);
  const handedOver = (await text()).length;
  await product.startWorker();
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
}, 120_000);

/** In whichever container of the installation is the step's. */
async function go(): Promise<void> {
  const instance = createHash('sha256').update(join(product.folder, 'data')).digest('hex').slice(0, 12);
  const { stdout } = await execa('docker', ['ps', '-q', '--filter', `label=dev.impgem.instance=${instance}`]);
  for (const id of stdout.split('\n')) await execa('docker', ['exec', id, 'touch', '/workspace/go'], { reject: false });
}
