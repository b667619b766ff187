import { createHash, createHmac, randomUUID } from 'node:crypto';
import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { type Product, SECRET, pushBody, startProduct } from '../test/support/product.ts';
import { type Figures, printTable, quantile } from './report.ts';

const SECONDS = 60;
const RATE = 200;
const KILL_EVERY_MS = 5000;
const DOWN_MS = 1500;

interface Answer {
  delivery: string;
  /** 0: none came. */
  status: number;
  ms: number;
}

/** 200 signed deliveries a second for a minute while Redis is killed with -9 every 5 s and started again after 1.5 s. */
export async function benchIntakeChaos(): Promise<Figures> {
  const product = await startProduct({ IMPGEM_CATCH_UP: 'off' });
  try {
    const repository = await product.repository('gem/intake');
    const sha = await repository.commit({ 'file.txt': 'nothing to run' });
    const body = JSON.stringify(pushBody('gem/intake', 'main', '0'.repeat(40), sha, 'Change'));
    let kills = 0;
    const over = new AbortController();
    const killing = (async () => {
      while (!over.signal.aborted) {
        await sleep(KILL_EVERY_MS - DOWN_MS);
        await product.redis.kill();
        kills++;
        await sleep(DOWN_MS);
        await product.redis.start();
      }
    })();
    const answers = await send(product, body);
    over.abort();
    await killing;
    const accepted = answers.filter((answer) => answer.status === 202);
    const lost = await countLost(product, accepted);
    const times = answers.map((answer) => answer.ms);
    const slow = times.filter((ms) => ms > 5000).length;
    const other = answers.filter((answer) => answer.status !== 202 && answer.status !== 503).length;
    printTable(`intake-chaos: ${RATE} deliveries a second for ${SECONDS} s, Redis killed ${kills} times`, [
      { what: 'accepted', value: accepted.length, unit: `of ${answers.length}` },
      { what: 'accepted and lost', value: lost, unit: '', bar: '0', ok: lost === 0 },
      { what: 'answers above 5 s', value: slow, unit: '', bar: '0', ok: slow === 0 },
      { what: 'answers that are neither 202 nor 503', value: other, unit: '', bar: '0', ok: other === 0 },
      { what: 'p99', value: quantile(times, 0.99), unit: 'ms' },
      { what: 'slowest', value: Math.max(...times), unit: 'ms' },
    ]);
    return { accepted: accepted.length, lost, slow, other, p99_ms: quantile(times, 0.99), kills };
  } finally {
    await product.stop();
  }
}

/** At a fixed rate, whether answers come or not. */
async function send(product: Product, body: string): Promise<Answer[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: 400 });
  const signature = createHmac('sha256', SECRET).update(body).digest('hex');
  const under: Promise<Answer>[] = [];
  const startedAt = performance.now();
  for (let index = 0; index < SECONDS * RATE; index++) {
    const wait = startedAt + (index * 1000) / RATE - performance.now();
    if (wait > 1) await sleep(wait);
    under.push(post(agent, product.url, body, signature));
  }
  const answers = await Promise.all(under);
  agent.destroy();
  return answers;
}

function post(agent: Agent, url: string, body: string, signature: string): Promise<Answer> {
  const delivery = randomUUID();
  const sentAt = performance.now();
  return new Promise((resolve) => {
    const end = (status: number): void => resolve({ delivery, status, ms: performance.now() - sentAt });
    const headers = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      'x-gitea-event': 'push',
      'x-gitea-delivery': delivery,
      'x-gitea-signature': signature,
    };
    const sent = request(`${url}/webhooks/gitea`, { method: 'POST', agent, headers }, (response) => {
      response.resume();
      response.on('end', () => end(response.statusCode ?? 0));
    });
    sent.on('error', () => end(0));
    sent.end(body);
  });
}

/** Accepted deliveries that nobody knows of, or that wait without an event in the queue. Waits for the journal. */
async function countLost(product: Product, accepted: readonly Answer[]): Promise<number> {
  const redis = new Redis({ path: product.redis.url.slice('unix://'.length) });
  try {
    let lost = accepted;
    for (let tries = 0; tries < 180 && lost.length > 0; tries++) {
      await sleep(1000);
      const known = await Promise.all(lost.map((answer) => isKnown(redis, answer.delivery)));
      lost = lost.filter((_, index) => known[index] !== true);
    }
    return lost.length;
  } finally {
    redis.disconnect();
  }
}

async function isKnown(redis: Redis, delivery: string): Promise<boolean> {
  const event = `gitea-${createHash('sha256').update(delivery).digest('hex').slice(0, 24)}-1`;
  // The event first: it goes only after the delivery says what became of it.
  const queued = await redis.exists(`impgem:events:${event}`);
  const state = await redis.hget(`ig:delivery:gitea:${delivery}`, 'state');
  return state !== null && (state !== 'queued' || queued === 1);
}
