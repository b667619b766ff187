/** What docs/operations.md says of an engine that is down, held against the product. */
import { afterEach, expect, it } from 'vitest';
import { BASE_IMAGE } from '../support/docker-engine.ts';
import { type OwnEngine, startOwnEngine } from '../support/own-engine.ts';
import { type Product, poll, startProduct } from '../support/product.ts';

let engine: OwnEngine | undefined;
let product: Product | undefined;
afterEach(async () => {
  await product?.stop();
  await engine?.stop();
});

it('an engine that is down: its worker takes no job, metrics and the run say so; once it is back all goes on', async () => {
  const [ownEngine, ownProduct] = await Promise.all([startOwnEngine(), startProduct({ IMPGEM_EXECUTOR: 'docker' })]);
  [engine, product] = [ownEngine, ownProduct];
  // Warm containers would be in the making when it is killed, of which it may not recover by itself.
  await ownProduct.startWorker({ DOCKER_HOST: ownEngine.host, IMPGEM_WARM_SLOTS: '0' });
  const workers = async (state: string, count: number): Promise<void> => {
    await poll(async () =>
      (await ownProduct.metric('impgem_workers', `state="${state}"`)) === count ? true : undefined,
    );
  };
  await workers('taking jobs', 1);
  await ownEngine.kill();
  await workers('paused', 1);
  await workers('taking jobs', 0);
  const { delivery } = await ownProduct.push('ann/app', {
    '.impgem.yml': `image: ${BASE_IMAGE}\nsteps: [{ run: "true" }]\n`,
  });
  const said = 'a worker (w1: the Docker engine does not answer)';
  await ownProduct.runOf(delivery, ({ jobs }) => jobs[0]?.waitingFor === said);
  await ownEngine.start();
  expect(await ownProduct.runOf(delivery)).toMatchObject({ state: 'succeeded', jobs: [{ attempt: 1 }] });
  await workers('taking jobs', 1);
}, 120_000);
