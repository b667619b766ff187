import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { Redis } from 'ioredis';
import { SECRET, startProduct } from '../test/support/product.ts';
import { type Figures, load, printTable, quantile } from './report.ts';

const COUNT = 6000;
const CONNECTIONS = 20;
const ROUNDS = 3;

/** Signed 8 KB push deliveries of GitHub to the whole product and to the bare app, in turns, over one Redis. */
export async function benchIntake(): Promise<Figures> {
  const product = await startProduct();
  const socket = product.redis.url.slice('unix://'.length);
  const redis = new Redis({ path: socket });
  const bare = spawn(process.execPath, ['dist/bare-intake.js'], {
    env: { PATH: process.env['PATH'], REDIS_SOCKET: socket, SECRET },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const [bareUrl] = (await once(createInterface({ input: bare.stdout }), 'line')) as [string];
    const repository = await product.repository('gem/intake');
    const sha = await repository.commit({ '.impgem.yml': 'steps: [{ run: "true" }]\n' });
    const body = pushOf(sha);
    const signature = `sha256=${createHmac('sha256', SECRET).update(body).digest('hex')}`;
    const send = (base: string, name: string) => (index: number) => ({
      url: `${base}/webhooks/github`,
      body,
      headers: {
        'content-type': 'application/json',
        'x-github-event': 'push',
        'x-github-delivery': `${name}-${index}`,
        'x-hub-signature-256': signature,
      },
    });
    const ours = { rates: [] as number[], times: [] as number[], accepted: 0 };
    const raw = { rates: [] as number[], times: [] as number[] };
    for (let round = 0; round < ROUNDS; round++) {
      const bareResult = await load(COUNT, CONNECTIONS, send(bareUrl, `bare-${round}`));
      raw.rates.push(COUNT / bareResult.seconds);
      raw.times.push(...bareResult.times);
      const result = await load(COUNT, CONNECTIONS, send(product.url, `ours-${round}`));
      ours.rates.push(COUNT / result.seconds);
      ours.times.push(...result.times);
      ours.accepted += result.statuses.get(202) ?? 0;
    }
    const found = (await redis.keys('ig:delivery:*:ours-*')).length;
    const queued = (await redis.hlen('impgem:events:meta')) >= 0 ? await countEvents(redis) : 0;
    const rate = quantile(ours.rates, 0.5);
    const rawRate = quantile(raw.rates, 0.5);
    const figures: Figures = {
      accepted_per_second: rate,
      bare_per_second: rawRate,
      ratio: rate / rawRate,
      p99_ms: quantile(ours.times, 0.99),
      bare_p99_ms: quantile(raw.times, 0.99),
      accepted: ours.accepted,
      found,
      still_queued: queued,
    };
    printTable('intake: signed 8 KB deliveries, 20 connections, Redis with fsync always', [
      { what: 'accepted', value: rate, unit: '/s' },
      { what: 'bare express + verify + one add', value: rawRate, unit: '/s' },
      { what: 'ratio', value: rate / rawRate, unit: '', bar: '>= 0.7', ok: rate / rawRate >= 0.7 },
      { what: 'p99', value: figures['p99_ms']!, unit: 'ms', bar: '<= 50 ms', ok: figures['p99_ms']! <= 50 },
      { what: 'bare p99', value: figures['bare_p99_ms']!, unit: 'ms' },
      {
        what: 'accepted and found again',
        value: found,
        unit: `of ${ours.accepted}`,
        bar: 'all',
        ok: found === ours.accepted,
      },
    ]);
    return figures;
  } finally {
    redis.disconnect();
    bare.kill();
    await product.stop();
  }
}

/** Events not planned yet. */
async function countEvents(redis: Redis): Promise<number> {
  const [waiting, active] = await Promise.all([redis.llen('impgem:events:wait'), redis.llen('impgem:events:active')]);
  return waiting + active;
}

function pushOf(sha: string): string {
  const person = { name: 'Maria', email: 'maria@example.com', username: 'maria' };
  const commit = { id: sha, message: 'Change', author: person, committer: person, timestamp: new Date().toISOString() };
  const body = {
    ref: 'refs/heads/main',
    before: '0'.repeat(40),
    after: sha,
    created: true,
    deleted: false,
    forced: false,
    commits: [commit],
    head_commit: commit,
    repository: { id: 1, name: 'intake', full_name: 'gem/intake', owner: { login: 'gem' }, default_branch: 'main' },
    pusher: { name: 'maria' },
    sender: { login: 'maria' },
    filler: '',
  };
  body.filler = 'x'.repeat(Math.max(0, 8192 - JSON.stringify(body).length));
  return JSON.stringify(body);
}
