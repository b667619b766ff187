import { request } from 'node:http';
import { execa } from 'execa';
import { BASE_IMAGE, startDockerEngine } from '../test/support/docker-engine.ts';
import { type Product, pushBody, startProduct } from '../test/support/product.ts';
import { type Figures, median, printTable, quantile } from './report.ts';

const ROUNDS = 20;
const REST_MS = 1500;

interface Case {
  name: string;
  settings: Record<string, string>;
  restMs: number;
  barMs?: number;
  /** Pushes take turns with these; absent: the default image. */
  images?: string[];
}

/** The same image by other names, which are other images to whoever keeps containers of it. */
const OTHER_IMAGES = ['impgem-bench/other', 'impgem-bench/third', 'impgem-bench/fourth'];

/** A push comes to a worker at rest: what the run before left is being removed, and a warm container made, meanwhile. */
const SANDBOX: Case = { name: 'sandbox', settings: { IMPGEM_EXECUTOR: 'sandbox' }, restMs: REST_MS, barMs: 120 };
const inDocker = (slots: number) => ({ IMPGEM_EXECUTOR: 'docker', IMPGEM_WARM_SLOTS: String(slots) });
const DOCKER: Case[] = [
  { name: 'docker', settings: inDocker(2), restMs: REST_MS, barMs: 150 },
  { name: 'docker_no_rest', settings: inDocker(2), restMs: 0 },
  // More images than slots: each push finds no container of its image, only the bare slot.
  { name: 'docker_no_container', settings: inDocker(2), restMs: REST_MS, barMs: 350, images: OTHER_IMAGES },
  // With warm slots switched off nothing is there, not even a network.
  { name: 'docker_cold', settings: inDocker(0), restMs: REST_MS },
];

/** From sending the webhook to the first log line at an SSE client that joins as soon as the run exists: local remote, warm mirror. */
export async function benchFirstLine(): Promise<Figures> {
  const figures: Figures = {};
  if (process.argv.includes('--docker')) {
    await startDockerEngine();
    for (const name of OTHER_IMAGES) await execa('docker', ['tag', BASE_IMAGE, name]);
  }
  for (const one of process.argv.includes('--docker') ? [SANDBOX, ...DOCKER] : [SANDBOX])
    Object.assign(figures, await measure(one));
  return figures;
}

async function measure({ name, settings, restMs, barMs, images }: Case): Promise<Figures> {
  const product = await startProduct(settings);
  const worker = await product.startWorker();
  try {
    const repository = await product.repository('gem/first');
    const pipeline = (round: number): string =>
      `${images ? `image: ${images[round % images.length]}\n` : ''}steps: [{ run: echo first }]\n`;
    let sha = await repository.commit({ '.impgem.yml': pipeline(0) });
    const times: number[] = [];
    const phases = { claimed: [] as number[], step: [] as number[] };
    for (let round = 0; round < ROUNDS; round++) {
      await new Promise((wake) => setTimeout(wake, restMs));
      const before = sha;
      sha = await repository.commit({ '.impgem.yml': pipeline(round), 'file.txt': `${round}` });
      const sentAt = performance.now();
      const { body } = await product.send('push', pushBody('gem/first', 'main', before, sha, 'Change'));
      times.push((await firstLineAt(product, body.delivery)) - sentAt);
      const run = await product.runOf(body.delivery);
      const at = (time: string | undefined): number => Date.parse(time ?? '') - Date.parse(run.createdAt);
      phases.claimed.push(at(run.jobs[0]?.startedAt));
      phases.step.push(at(run.jobs[0]?.steps[0]?.startedAt));
    }
    const later = times.slice(5);
    const bar = barMs === undefined ? {} : { bar: `<= ${barMs} ms`, ok: median(later) <= barMs };
    printTable(`first-line with ${name}: webhook to first log line at an SSE client`, [
      { what: 'median', value: median(later), unit: 'ms', ...bar },
      { what: 'p95', value: quantile(later, 0.95), unit: 'ms' },
      { what: 'of it until the job is claimed', value: median(phases.claimed.slice(5)), unit: 'ms' },
      { what: 'of it until the step starts', value: median(phases.step.slice(5)), unit: 'ms' },
      { what: 'first of all', value: times[0] ?? Number.NaN, unit: 'ms' },
    ]);
    return { [`${name}_median_ms`]: median(later), [`${name}_p95_ms`]: quantile(later, 0.95) };
  } finally {
    // It clears the engine away; the rest is killed.
    await worker.stop();
    await product.stop();
  }
}

/** Time at which a client saw the first bytes of a step's log. */
async function firstLineAt(product: Product, delivery: string): Promise<number> {
  let run: string | undefined;
  while (run === undefined) {
    run = (await product.api<{ runs?: string[] }>(`/api/deliveries/${delivery}`)).runs?.[0];
    // A client that asks without a pause would take the server's time from what it measures.
    if (run === undefined) await new Promise((wake) => setTimeout(wake, 4));
  }
  return new Promise((resolve, reject) => {
    const sent = request(
      `${product.url}/api/runs/${run}/logs`,
      { headers: { accept: 'text/event-stream' } },
      (response) => {
        response.setEncoding('utf8');
        let text = '';
        response.on('data', (chunk: string) => {
          text += chunk;
          if (!/"text":"[^"]*first/.test(text)) return;
          resolve(performance.now());
          sent.destroy();
        });
      },
    );
    sent.on('error', reject);
    sent.end();
  });
}
