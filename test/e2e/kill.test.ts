import { readFile, readdir } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Product, TOKEN, startProcess, startProduct } from '../support/product.ts';

let product: Product;
beforeAll(async () => {
  product = await startProduct();
});
afterAll(() => product.stop());

const SLOW =
  'steps:\n  - { name: slow, run: "echo started; sleep 2; echo done" }\n  - { name: after, run: echo after }\n';

const textOf = async (run: string, query: string): Promise<string> =>
  (await fetch(`${product.url}/api/runs/${run}/logs?${query}`)).text();

describe('a worker killed with -9 in the middle of a step', () => {
  it('loses the job to the next worker, which runs it again, and the log says so', async () => {
    const first = await product.startWorker({ IMPGEM_WORKER_NAME: 'w1' });
    const { delivery, sha } = await product.push('gem/kill', { '.impgem.yml': SLOW });
    const begun = await product.runOf(delivery, (run) => run.jobs[0]?.steps[0]?.state === 'running');
    await expect.poll(() => textOf(begun.id, 'job=main&step=slow')).toBe('started\n');
    await first.stop('SIGKILL');
    await product.startWorker({ IMPGEM_WORKER_NAME: 'w2' });
    const run = await product.runOf(delivery);
    expect(run).toMatchObject({ state: 'succeeded', jobs: [{ attempt: 2, worker: 'w2', state: 'succeeded' }] });
    expect(await textOf(run.id, 'job=main&step=slow')).toBe('started\ndone\n');
    expect(await textOf(run.id, 'job=main')).toMatch(/worker w1 was lost/);
    // The log of the first attempt is kept beside.
    expect(await textOf(run.id, 'job=main&step=slow&attempt=1')).toBe('started\n');
    const posts = product.forge.posts.filter((post) => post.sha === sha).map((post) => post.state);
    expect(posts).toEqual(['pending', 'success']);
  });

  it('gives its jobs back at once when it starts again under its name', async () => {
    const worker = await product.startWorker({ IMPGEM_WORKER_NAME: 'w3', IMPGEM_WORKER_LABELS: 'special' });
    const pipeline = `jobs:\n  main:\n    runs-on: [special]\n    ${SLOW.replaceAll('\n', '\n    ')}`;
    const { delivery } = await product.push('gem/again', { '.impgem.yml': pipeline.trimEnd() + '\n' });
    await product.runOf(delivery, (run) => run.jobs[0]?.steps[0]?.state === 'running');
    await worker.stop('SIGKILL');
    const again = await product.startWorker({ IMPGEM_WORKER_NAME: 'w3', IMPGEM_WORKER_LABELS: 'special' });
    await again.said(/"repair":"job-released"/);
    const run = await product.runOf(delivery);
    expect(run).toMatchObject({ state: 'succeeded', jobs: [{ attempt: 2, worker: 'w3' }] });
    expect(await textOf(run.id, 'job=main')).toMatch(/worker w3 was restarted/);
    // The other is the job of the worker that nobody started again.
    expect(await product.metric('impgem_repairs_total', 'kind="job-released"')).toBe(2);
    await expect.poll(() => product.metric('impgem_job_retries_total')).toBe(2);
  });
});

describe('a worker that stood still for longer than its lease', () => {
  it('has lost its job, and ends what still runs of it when it wakes', async () => {
    const worker = await product.startWorker({ IMPGEM_WORKER_NAME: 'w4', IMPGEM_WORKER_LABELS: 'still' });
    // Only the first attempt would sleep on.
    const script = 'echo started; if [ "$IMPGEM_ATTEMPT" = 1 ]; then sleep 3000.4711; fi; echo done';
    const pipeline = `jobs: { main: { runs-on: [still], steps: [{ name: slow, run: ${JSON.stringify(script)} }] } }\n`;
    const { delivery } = await product.push('gem/still', { '.impgem.yml': pipeline });
    const begun = await product.runOf(delivery, (run) => run.jobs[0]?.steps[0]?.state === 'running');
    await expect.poll(() => textOf(begun.id, 'job=main&step=slow')).toBe('started\n');
    process.kill(worker.pid, 'SIGSTOP');
    await product.startWorker({ IMPGEM_WORKER_NAME: 'w5', IMPGEM_WORKER_LABELS: 'still' });
    const run = await product.runOf(delivery);
    expect(run).toMatchObject({ state: 'succeeded', jobs: [{ attempt: 2, worker: 'w5' }] });
    process.kill(worker.pid, 'SIGCONT');
    await worker.said(/let go/);
    await expect.poll(() => sleepers('3000.4711'), { timeout: 20_000 }).toEqual([]);
    expect(await textOf(run.id, 'job=main&step=slow')).toBe('started\ndone\n');
    expect(await textOf(run.id, 'job=main&step=slow&attempt=1')).toBe('started\n');
  });
});

/** Processes that sleep this long. */
async function sleepers(seconds: string): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')));
  return lines.filter((line) => line.startsWith(`sleep\0${seconds}`));
}

describe('a server killed with -9', () => {
  it('goes on where it was: what was accepted is planned, what runs is followed to its status', async () => {
    const { delivery, sha } = await product.push('gem/server', { '.impgem.yml': SLOW });
    await product.server.stop('SIGKILL');
    await product.startServer();
    const run = await product.runOf(delivery);
    expect(run.state).toBe('succeeded');
    await expect
      .poll(() => product.forge.posts.filter((post) => post.sha === sha).at(-1)?.state, { timeout: 30_000 })
      .toBe('success');
  });
});

describe('a Redis killed with -9 and started again', () => {
  it('loses no push that came meanwhile', async () => {
    await product.redis.kill();
    // Whoever asks meanwhile is told to come again, in our words.
    for (const path of ['/api/runs', '/api/deliveries/x', '/readyz']) {
      const answer = await fetch(`${product.url}${path}`, { headers: { authorization: `Bearer ${TOKEN}` } });
      expect(answer.status, path).toBe(503);
      expect(await answer.text(), path).not.toMatch(/ioredis|Stream|ENOENT/);
    }
    const { delivery } = await product.push('gem/redis', { '.impgem.yml': 'steps: [{ run: echo here }]\n' });
    await product.redis.start();
    const run = await product.runOf(delivery);
    expect(run.state).toBe('succeeded');
  });
});

describe('told to stop while Redis is away', () => {
  it('a worker in the middle of a job, a worker that has not begun, and a server end', async () => {
    const lone = { IMPGEM_WORKER_NAME: 'w6', IMPGEM_WORKER_LABELS: 'lone', IMPGEM_DRAIN_TIMEOUT: '1s' };
    const busy = await product.startWorker(lone);
    const script = 'echo started; if [ "$IMPGEM_ATTEMPT" = 1 ]; then sleep 3000.4712; fi; echo done';
    const pipeline = `jobs: { main: { runs-on: [lone], steps: [{ name: slow, run: ${JSON.stringify(script)} }] } }\n`;
    const { delivery } = await product.push('gem/lone', { '.impgem.yml': pipeline });
    const begun = await product.runOf(delivery, (run) => run.jobs[0]?.steps[0]?.state === 'running');
    await expect.poll(() => textOf(begun.id, 'job=main&step=slow')).toBe('started\n');
    await product.redis.kill();
    const env = { IMPGEM_WORKER_NAME: 'w7', IMPGEM_DATA: `${product.folder}/elsewhere`, IMPGEM_EXECUTOR: 'sandbox' };
    const early = startProcess('worker', { ...process.env, ...env, REDIS_URL: product.redis.url });
    await early.said(/worker ready/);
    expect(await early.stop('SIGTERM')).toBe(0);
    expect(await busy.stop('SIGTERM')).toBe(0);
    expect(await sleepers('3000.4712')).toEqual([]);
    expect(await product.server.stop('SIGTERM')).toBe(0);

    await product.redis.start();
    await product.startServer();
    await product.startWorker(lone);
    expect(await product.runOf(delivery)).toMatchObject({ state: 'succeeded', jobs: [{ attempt: 2 }] });
  });
});
