/** What docs/operations.md says of a disk, a Redis and a forge in trouble, held against the product; and an upgrade. */
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterEach, describe, expect, it } from 'vitest';
import { type Product, SECRET, TOKEN, WAITING, goOn, poll, startProduct, waits } from '../support/product.ts';
import { smallDisk } from '../support/small-disk.ts';

const MB = 1024 ** 2;
const GREEN = { '.impgem.yml': 'steps: [{ run: "true" }]\n' };

let product: Product;
afterEach(() => product.stop());

const metric = (name: string, labels?: string): Promise<number> => product.metric(name, labels);
const isTrue = async (ask: () => Promise<boolean>): Promise<void> => {
  await poll(async () => ((await ask()) ? true : undefined));
};
const ready = async (): Promise<{ status: number; checks: Record<string, string> }> => {
  const response = await fetch(`${product.url}/readyz`);
  return { status: response.status, ...((await response.json()) as { checks: Record<string, string> }) };
};
const number = async (path: string): Promise<number> => (await fetch(product.url + path)).status;

it('a full disk: deliveries are taken, no job is, everybody says why; with room it all goes on', async () => {
  const disk = await smallDisk(200 * MB);
  product = await startProduct({ IMPGEM_DATA: disk.folder, IMPGEM_MIN_FREE_DISK: '30m' });
  await product.startWorker();
  await disk.fill(20 * MB);
  await isTrue(async () => (await metric('impgem_workers', 'state="paused"')) === 1);
  expect(await ready()).toMatchObject({
    status: 503,
    checks: { redis: 'ok', disk: expect.stringMatching(/^only \d+ MB free$/) },
  });
  expect(await metric('impgem_disk_free_bytes')).toBeLessThan(21 * MB);
  const { delivery } = await product.push('ann/app', GREEN);
  const said = /^a worker \(w1: only \d+ MB free on its disk\)$/;
  expect(await product.runOf(delivery, (run) => said.test(run.jobs[0]?.waitingFor ?? ''))).toMatchObject({
    state: 'pending',
  });
  await disk.empty();
  expect(await product.runOf(delivery)).toMatchObject({ state: 'succeeded' });
  expect((await ready()).status).toBe(200);
}, 90_000);

it('a Redis at its maxmemory: deliveries go to the journal, writes are refused with the reason, nothing is lost', async () => {
  product = await startProduct();
  await product.startWorker();
  const { delivery: first } = await product.push('ann/app', GREEN);
  const { id } = await product.runOf(first);
  const redis = new Redis({ path: product.redis.url.replace('unix://', '') });
  await redis.config('SET', 'maxmemory', '1');
  const { delivery } = await product.push('ann/app', { file: '1' });
  expect(delivery).toBeDefined();
  expect(await metric('impgem_journal_pending')).toBe(1);
  expect(await metric('impgem_redis_memory_bytes', 'kind="maxmemory"')).toBe(1);
  expect(await ready()).toMatchObject({
    status: 503,
    checks: { redis: 'takes no writes: its memory or its disk is full' },
  });
  expect(await number(`/api/runs/${id}`)).toBe(200);
  expect(await product.api(`/api/runs/${id}/rerun`, { method: 'POST' })).toMatchObject({
    status: 503,
    code: 'redis-full',
  });
  await redis.config('SET', 'maxmemory', '0');
  redis.disconnect();
  expect(await product.runOf(delivery)).toMatchObject({ state: 'succeeded' });
  expect(await metric('impgem_journal_pending')).toBe(0);
}, 90_000);

it('a Redis that is away: /metrics still says what can be said, and that it is away', async () => {
  product = await startProduct();
  expect(await metric('impgem_redis_up')).toBe(1);
  expect(Math.abs(await metric('impgem_clock_offset_seconds'))).toBeLessThan(60);
  await product.redis.kill();
  const { delivery } = await product.push('ann/app', GREEN);
  expect(await metric('impgem_redis_up')).toBe(0);
  expect(await metric('impgem_journal_pending')).toBe(1);
  expect(await ready()).toMatchObject({ status: 503, checks: { redis: 'does not answer' } });
  await product.redis.start();
  await product.startWorker();
  expect(await product.runOf(delivery)).toMatchObject({ state: 'succeeded' });
}, 90_000);

it('a forge that is down: runs go on, statuses are tried again and counted, and arrive', async () => {
  product = await startProduct();
  const worker = await product.startWorker();
  let isDown = true;
  product.forge.weather = () => (isDown ? { kind: 'answer', status: 503 } : { kind: 'answer', status: 201 });
  const { delivery } = await product.push('ann/app', GREEN);
  expect(await product.runOf(delivery)).toMatchObject({ state: 'succeeded' });
  await isTrue(async () => (await metric('impgem_statuses_total', 'forge="gitea",outcome="retried"')) > 0);
  expect(await metric('impgem_deliveries_total', 'state="planned"')).toBe(1);
  isDown = false;
  await isTrue(() => Promise.resolve(product.forge.posts.some(({ state }) => state === 'success')));
  // Nothing that was said or measured meanwhile holds a secret.
  const response = await fetch(`${product.url}/metrics`, { headers: { authorization: `Bearer ${TOKEN}` } });
  const said = [await response.text(), ...product.server.lines, ...worker.lines].join('\n');
  expect(said).toContain('status not delivered');
  for (const secret of [TOKEN, SECRET, 'forge-token']) expect(said).not.toContain(secret);
}, 90_000);

it('a forge whose git is silent: the delivery fails after three looks, and both are in the metrics', async () => {
  product = await startProduct({ IMPGEM_FETCH_TIMEOUT: '1s' });
  product.git.hang = true;
  const { delivery } = await product.push('ann/app', GREEN);
  expect(await product.runOf(delivery)).toMatchObject({ state: 'errored' });
  await isTrue(async () => (await metric('impgem_deliveries_total', 'state="failed"')) === 1);
  await isTrue(async () => (await metric('impgem_plan_seconds_count')) === 3);
  expect(await metric('impgem_plan_seconds_sum')).toBeGreaterThan(2);
}, 90_000);

it('a step that floods its log hears of a cancel all the same, and nothing of it is left', async () => {
  product = await startProduct();
  await product.startWorker();
  const mark = `flood-${process.pid}`;
  // What floods is asked to end a moment after the script is: it may still say something then.
  const script = `trap 'wait; echo; echo heard TERM' TERM; yes ${mark} & wait`;
  const { delivery } = await product.push('ann/app', { '.impgem.yml': `steps: [{ name: flood, run: "${script}" }]\n` });
  const { id } = await product.runOf(delivery, (run) => run.jobs[0]?.steps[0]?.state === 'running');
  const log = async () => (await fetch(`${product.url}/api/runs/${id}/logs?job=main&step=flood`)).text();
  await isTrue(async () => (await log()).includes(mark));
  await product.api(`/api/runs/${id}/cancel`, { method: 'POST' });
  const cancelled = { state: 'cancelled', reason: 'cancelled by a person' };
  expect(await product.runOf(delivery)).toMatchObject({ ...cancelled, jobs: [{ ...cancelled, steps: [cancelled] }] });
  // The step itself heard of it, and what it said then ends its log, whatever stood before it in line. The reason is ours.
  expect((await log()).slice(-100)).toMatch(/\nheard TERM\n.*by a person\n$/);
  await isTrue(async () => !(await commandLines()).some((line) => line === `yes\0${mark}\0`));
}, 90_000);

/** Of every process of this machine. */
async function commandLines(): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  return Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
}

it('a worker that is drained over HTTP ends what it has, takes nothing more, and goes on when it is told to', async () => {
  product = await startProduct();
  await product.startWorker();
  const worker = async (): Promise<{ paused?: string; jobs: object[] } | undefined> =>
    (await product.api<{ workers: { paused?: string; jobs: object[] }[] }>('/api/workers')).workers[0];
  const { delivery } = await product.push('ann/app', { '.impgem.yml': 'steps: [{ run: echo hello; sleep 4 }]\n' });
  const { id } = await product.runOf(delivery, (run) => run.state === 'running');
  expect(await product.api('/api/workers/w1/drain', { method: 'POST' })).toEqual({ name: 'w1', drained: true });
  await isTrue(async () => (await worker())?.paused === 'told to drain');
  const { delivery: later } = await product.push('ann/other', GREEN);
  expect(await product.runOf(delivery)).toMatchObject({ id, state: 'succeeded', jobs: [{ attempt: 1 }] });
  expect(await product.runOf(later, () => true)).toMatchObject({ state: 'pending' });
  await isTrue(async () => (await worker())?.jobs.length === 0);
  // A ticket that came to the worker all the same was put back.
  const depth = (state: string): Promise<number> => metric('impgem_queue_depth', `queue="jobs",state="${state}"`);
  await isTrue(async () => (await depth('prioritized')) + (await depth('delayed')) === 1);
  await product.api('/api/workers/w1/resume', { method: 'POST' });
  expect(await product.runOf(later)).toMatchObject({ state: 'succeeded' });
  await isTrue(async () => (await metric('impgem_runs_total', 'state="succeeded"')) === 2);
  expect(await metric('impgem_jobs_total', 'state="succeeded"')).toBe(2);
  for (const name of ['impgem_run_seconds', 'impgem_step_seconds'])
    expect(await metric(`${name}_count`, 'state="succeeded"')).toBe(2);
  expect(await metric('impgem_step_seconds_sum', 'state="succeeded"')).toBeGreaterThan(4);
  expect(await metric('impgem_job_wait_seconds_count')).toBe(2);
  expect((await depth('prioritized')) + (await depth('delayed'))).toBe(0);
  await isTrue(async () => (await metric('impgem_log_bytes_total')) >= 'hello\n'.length);
  expect(await product.api('/api/workers/none/drain', { method: 'POST' })).toMatchObject({ code: 'worker-unknown' });
}, 90_000);

describe('a drained worker that is killed', () => {
  const drained = async (): Promise<void> => {
    const worker = await product.startWorker();
    // It is ready before it is known.
    await isTrue(async () => {
      const answer = await product.api<{ drained?: boolean }>('/api/workers/w1/drain', { method: 'POST' });
      return answer.drained === true;
    });
    await worker.said(/takes no job: told to drain/);
    await worker.stop('SIGKILL');
  };

  it('takes jobs when it starts again', async () => {
    product = await startProduct();
    await drained();
    await product.startWorker();
    const { delivery } = await product.push('ann/app', GREEN);
    expect(await product.runOf(delivery)).toMatchObject({ state: 'succeeded', jobs: [{ worker: 'w1' }] });
  }, 90_000);

  it('can be told to resume while it is gone, once', async () => {
    product = await startProduct();
    await drained();
    // Forgotten as if its lease had run out.
    const redis = new Redis({ path: product.redis.url.replace('unix://', '') });
    await redis.del('ig:workers', 'ig:workers-seen');
    redis.disconnect();
    const post = (verb: string): Promise<object> => product.api(`/api/workers/w1/${verb}`, { method: 'POST' });
    expect(await post('drain')).toMatchObject({ code: 'worker-unknown' });
    expect(await post('resume')).toEqual({ name: 'w1', drained: false });
    expect(await post('resume')).toMatchObject({ code: 'worker-unknown' });
  }, 90_000);
});

it('a Redis that may lose with the power what it has taken: the server says so and starts', async () => {
  product = await startProduct();
  expect(product.server.lines.join('\n')).not.toContain('appendfsync');
  const redis = new Redis({ path: product.redis.url.replace('unix://', '') });
  await redis.config('SET', 'appendfsync', 'everysec');
  await (await product.startServer()).said(/appendfsync of Redis is everysec; set it to always/);
  // Who may not read its settings is not told, and starts as well.
  await redis.acl('SETUSER', 'default', '-config');
  const server = await product.startServer();
  await server.said(/listening/);
  expect(server.lines.join('\n')).not.toContain('appendfsync');
  redis.disconnect();
}, 90_000);

describe('an upgrade in the middle of a run', () => {
  it('of server and worker: the run ends green once, a push that comes meanwhile too', async () => {
    product = await startProduct();
    const [oldServer, oldWorker] = [product.server, await product.startWorker()];
    const { delivery } = await product.push('ann/app', {
      '.impgem.yml': `steps: [{ run: ${JSON.stringify(WAITING)} }, { run: "true" }]\n`,
    });
    const folder = await waits(join(product.folder, 'data', 'work'));
    await product.startWorker({ IMPGEM_WORKER_NAME: 'w2' });
    // The new server is up before the old one goes: `product` talks to it from here on.
    await product.startServer();
    const stopped = Promise.all([oldWorker.stop('SIGTERM'), oldServer.stop('SIGTERM')]);
    const workers = async (): Promise<object[]> => (await product.api<{ workers: object[] }>('/api/workers')).workers;
    await isTrue(async () => (await workers()).length === 1);
    await goOn(folder);
    const { delivery: meanwhile } = await product.push('ann/other', GREEN);
    expect(await product.runOf(meanwhile)).toMatchObject({ state: 'succeeded' });
    expect(await stopped).toEqual([0, 0]);
    expect(await product.runOf(delivery)).toMatchObject({ state: 'succeeded', jobs: [{ attempt: 1, worker: 'w1' }] });
    const finals = (): string[] =>
      product.forge.posts.filter(({ state }) => state !== 'pending').map(({ repository }) => repository);
    await isTrue(() => Promise.resolve(finals().length === 2));
    expect(finals().sort()).toEqual(['ann/app', 'ann/other']);
  }, 90_000);
});
