/** `docker: true` from a push on: for whom the operator says, and for nobody else. */
import { execa } from 'execa';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { isOver, type Process, type Product, startProduct } from '../support/product.ts';
import { makeNestedImage, NESTED_IMAGE, NESTED_OPTIONS } from '../support/nested-image.ts';

const PIPELINE = `image: ${NESTED_IMAGE}
steps:
  - { name: plain, run: '! docker ps 2>/dev/null' }
  - name: build
    docker: true
    run: |
      tar -ch /bin/sh $(ldd /bin/sh | grep -o '/lib[^ ]*') 2>/dev/null | docker import - tiny
      printf 'FROM tiny\\nENV MADE=image\\n' | docker build -t mine -
  - { name: use, docker: true, run: "docker run --rm mine /bin/sh -c 'echo from the $MADE'" }
`;

let product: Product;
let worker: Process;
beforeAll(async () => {
  await makeNestedImage();
  product = await startProduct({
    IMPGEM_EXECUTOR: 'docker',
    IMPGEM_TRUSTED_REPOSITORIES: 'gitea/gem/*,!gitea/gem/not',
    IMPGEM_NESTED_ENGINE_IMAGE: NESTED_IMAGE,
    IMPGEM_NESTED_ENGINE_OPTIONS: NESTED_OPTIONS,
  });
  await product.startServer();
  worker = await product.startWorker();
});
afterAll(async () => {
  await worker.stop(); // It clears the engine away; the rest is killed.
  await product.stop();
});

it('builds an image in one step and runs it in the next', async () => {
  const { delivery } = await product.push('gem/builder', { '.impgem.yml': PIPELINE });
  const run = await product.runOf(delivery, isOver);
  expect(run).toMatchObject({ state: 'succeeded' });
  const log = await fetch(`${product.url}/api/runs/${run.id}/logs?job=main&step=use`);
  expect(await log.text()).toMatch(/\bfrom the image\n$/);
  await expect.poll(nestedVolumes, { timeout: 20_000 }).toEqual([]);
});

it('gives none to a repository that is not on the list', async () => {
  const { delivery } = await product.push('gem/not', { '.impgem.yml': PIPELINE });
  const run = await product.runOf(delivery, isOver);
  expect(run.jobs[0]?.steps.map(({ state }) => state)).toEqual(['succeeded', 'errored', 'skipped']);
  expect(run.jobs[0]?.steps[1]?.reason).toContain('IMPGEM_TRUSTED_REPOSITORIES');
});

async function nestedVolumes(): Promise<string[]> {
  const data = join(product.folder, 'data');
  const instance = createHash('sha256').update(data).digest('hex').slice(0, 12);
  const filter = ['--filter', `label=dev.impgem.instance=${instance}`, '--filter', 'name=nested'];
  const { stdout } = await execa('docker', ['volume', 'ls', '-q', ...filter]);
  return stdout.split('\n').filter(Boolean);
}
