import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { Agent, type IncomingMessage, get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { createArchive } from '../src/runs/archive.ts';
import { newRecord } from '../src/runs/new-record.ts';
import type { JobSpec, Plan } from '../src/runs/plan.ts';
import { createRedisRunStore } from '../src/runs/redis-store.ts';
import { makeRunId } from '../src/runs/run-id.ts';
import type { FinalState, RunRecord } from '../src/runs/run.ts';
import { startProcess } from '../test/support/product.ts';
import { startRedis } from '../test/support/redis.ts';
import { type Random, createRandom } from './chaos/random.ts';
import { type Figures, median, printTable, quantile } from './report.ts';

const RUNS = 100_000;
const REPOSITORIES = 50;
const KEEP = 1000;
const REQUESTS = 3000;
const WRITERS = 256;
const DAY_MS = 24 * 3600_000;

/** 100,000 finished runs of a year, made by the store and the archive; lists and filters over HTTP; the index rebuilt. */
export async function benchHistory(): Promise<Figures> {
  const folder = await mkdtemp(join(tmpdir(), 'impgem-history-'));
  const redis = await startRedis();
  const client = new Redis({ path: redis.url.slice('unix://'.length) });
  const env = {
    PATH: process.env['PATH'] ?? '',
    HOME: folder,
    REDIS_URL: redis.url,
    IMPGEM_DATA: folder,
    IMPGEM_LISTEN: '127.0.0.1:0',
    IMPGEM_CATCH_UP: 'off',
    IMPGEM_KEEP_RUNS: String(KEEP),
  };
  const random = createRandom(1);
  try {
    await fill(client, join(folder, 'runs'), random);
    const memory = Number(/^used_memory:(\d+)/m.exec(await client.info('memory'))?.[1]) / 1024 ** 2;

    const startedAt = performance.now();
    const server = startProcess('server', env);
    const url = /"url":"([^"]+)"/.exec(await server.said(/listening/))?.[1] ?? '';
    await (await fetch(`${url}/api/runs?limit=1`)).arrayBuffer();
    const startUp = (performance.now() - startedAt) / 1000;
    const times = await ask(url, random);
    const pages = await ask(url, random, '/?');

    const total = await client.zcard('ig:ix:all');
    await client.flushall();
    const reindexAt = performance.now();
    const reindex = startProcess('reindex', env);
    await reindex.said(/runs are listed again/);
    const reindexed = (performance.now() - reindexAt) / 1000;
    const found = await client.zcard('ig:ix:all');
    await server.stop();

    printTable(`history: ${RUNS} finished runs of ${REPOSITORIES} repositories, ${KEEP} of them hot`, [
      { what: 'list and filter, median', value: median(times), unit: 'ms' },
      {
        what: 'list and filter, p99',
        value: quantile(times, 0.99),
        unit: 'ms',
        bar: '<= 20 ms',
        ok: quantile(times, 0.99) <= 20,
      },
      { what: 'page of runs, p99', value: quantile(pages, 0.99), unit: 'ms' },
      { what: 'Redis', value: memory, unit: 'MB', bar: '<= 300 MB', ok: memory <= 300 },
      { what: 'start of the server to its first list', value: startUp, unit: 's', bar: '<= 2 s', ok: startUp <= 2 },
      { what: 'reindex', value: reindexed, unit: 's' },
      { what: 'listed after reindex', value: found, unit: `of ${total}`, bar: 'all', ok: found === total },
    ]);
    return {
      median_ms: median(times),
      p99_ms: quantile(times, 0.99),
      page_p99_ms: quantile(pages, 0.99),
      redis_mb: memory,
      start_seconds: startUp,
      reindex_seconds: reindexed,
      reindexed: found,
    };
  } finally {
    client.disconnect();
    await redis.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

async function fill(client: Redis, folder: string, random: Random): Promise<void> {
  const archive = createArchive(folder);
  const store = createRedisRunStore(client, archive);
  const from = Date.now() - 365 * DAY_MS;
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < RUNS) {
      const index = next++;
      const plan = planOf(random);
      const made = finished(random, plan, index, new Date(from + (index * 365 * DAY_MS) / RUNS));
      const { record } = await store.create(made, plan);
      await archive.write(record, plan);
      await store.settle(record.id, KEEP);
      if (index % 20_000 === 0) process.stderr.write(`history: ${index} runs\n`);
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, lane));
}

/** Sequential requests of one client: newest, deep pages, every combination of filters. */
async function ask(url: string, random: Random, path = '/api/runs?'): Promise<number[]> {
  const times: number[] = [];
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  let cursor: string | undefined;
  for (let request = 0; request < REQUESTS; request++) {
    const query = new URLSearchParams();
    if (random.chance(0.6)) query.set('repository', repositoryOf(random.between(0, REPOSITORIES - 1)));
    if (random.chance(0.4)) query.set('branch', branchOf(random));
    if (random.chance(0.4)) query.set('state', stateOf(random));
    if (random.chance(0.1)) query.set('sha', shaOf(random.between(0, RUNS - 1)));
    if (random.chance(0.7)) query.set('limit', '30');
    if (cursor !== undefined && random.chance(0.3)) query.set('cursor', cursor);
    const sentAt = performance.now();
    const { status, body } = await read(agent, `${url}${path}${query.toString()}`);
    times.push(performance.now() - sentAt);
    if (status !== 200) throw new Error(`${query.toString()}: ${status} ${body.toString('utf8', 0, 200)}`);
    cursor = /"next":"(\w+)"}$/.exec(body.toString('latin1', body.length - 100))?.[1] ?? cursor;
  }
  agent.destroy();
  return times.slice(100);
}

/** As bytes and no more: collecting the garbage of a client that reads text would be in the times of the server. */
async function read(agent: Agent, url: string): Promise<{ status: number; body: Buffer }> {
  const [response] = (await once(get(url, { agent }), 'response')) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return { status: response.statusCode ?? 0, body: Buffer.concat(chunks) };
}

const repositoryOf = (index: number): string => `gitea/team-${index % 7}/service-${index}`;
const shaOf = (index: number): string => index.toString(16).padStart(8, '0').repeat(5);
const branchOf = (random: Random): string => (random.chance(0.6) ? 'main' : `feature/part-${random.between(1, 200)}`);
const stateOf = (random: Random): FinalState =>
  random.chance(0.85) ? 'succeeded' : random.pick(['failed', 'failed', 'cancelled', 'errored', 'skipped']);

function planOf(random: Random): Plan {
  const jobs = Array.from({ length: random.between(1, 4) }, (_, index) => jobOf(`job-${index}`, index));
  const clone = { skip: false, depth: 0, submodules: false, lfs: false };
  return { pipeline: '', file: '.impgem.yml', clone, jobs };
}

function jobOf(id: string, index: number): JobSpec {
  return {
    id,
    key: id,
    name: id,
    matrix: {},
    needs: index === 0 ? [] : [{ job: `job-${index - 1}`, key: `job-${index - 1}`, optional: false }],
    runsOnStatus: 'success',
    env: { NODE_ENV: 'test' },
    services: [],
    secrets: [],
    timeoutMs: 3_600_000,
    retry: { count: 0, delayMs: 0, infrastructure: false },
    runsOn: [],
    outputs: {},
    allowFailure: false,
    graph: false,
    steps: ['install', 'build', 'test'].map((name) => ({
      name,
      run: `npm run ${name} -- --reporter=default --output=report-${name}.xml`,
      shell: 'bash',
      env: {},
      secrets: [],
      needs: [],
      runsOnStatus: 'success',
      retry: { count: 0, delayMs: 0, infrastructure: false },
      allowFailure: false,
      artifacts: [],
      caches: [],
      background: false,
      network: 'default',
      limits: {},
      docker: false,
    })),
  };
}

function finished(random: Random, plan: Plan, index: number, at: Date): RunRecord {
  const createdAt = at.toISOString();
  const repository = repositoryOf(random.between(0, REPOSITORIES - 1));
  const branch = branchOf(random);
  const sha = shaOf(index);
  const message = `Change number ${index} of the service\n\nWith a body that says why, as a good one does.`;
  const state = stateOf(random);
  const record = newRecord({
    id: makeRunId(createdAt, `history ${index}`),
    event: {
      kind: 'push',
      repository,
      ref: `refs/heads/${branch}`,
      branch,
      sha,
      message,
      author: 'Maria',
      receivedAt: createdAt,
    },
    sha,
    message,
    author: 'Maria',
    plan,
    createdAt,
  });
  const endedAt = new Date(at.getTime() + 90_000).toISOString();
  const jobs = record.jobs.map((job) => ({
    ...job,
    state,
    worker: 'w1',
    startedAt: createdAt,
    endedAt,
    steps: job.steps.map((step) => ({ ...step, state, exitCode: 0, startedAt: createdAt, endedAt })),
  }));
  return { ...record, state, jobs, startedAt: createdAt, endedAt, version: 12 };
}
