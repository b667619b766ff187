import { request } from 'node:http';
import { type Product, pushBody, startProduct } from '../test/support/product.ts';
import { type Figures, median, printTable, quantile } from './report.ts';

const ROUNDS = 20;
const REST_MS = 1500;

/** From sending the webhook to the first log line at an SSE client that joins as soon as the run exists: local remote, warm mirror. */
export async function benchFirstLine(): Promise<Figures> {
  const figures: Figures = {};
  const executors = process.argv.includes('--docker') ? (['sandbox', 'docker'] as const) : (['sandbox'] as const);
  for (const executor of executors) {
    const product = await startProduct({ IMPGEM_EXECUTOR: executor });
    try {
      await product.startWorker();
      const repository = await product.repository('gem/first');
      let sha = await repository.commit({ '.impgem.yml': 'steps: [{ run: echo first }]\n' });
      const times: number[] = [];
      const phases = { claimed: [] as number[], step: [] as number[] };
      for (let round = 0; round < ROUNDS; round++) {
        // A push comes to a worker at rest: what the run before left is being removed, and a warm container made, meanwhile.
        await new Promise((wake) => setTimeout(wake, REST_MS));
        const before = sha;
        sha = await repository.commit({ 'file.txt': `${round}` });
        const sentAt = performance.now();
        const { body } = await product.send('push', pushBody('gem/first', 'main', before, sha, 'Change'));
        times.push((await firstLineAt(product, body.delivery)) - sentAt);
        const run = await product.runOf(body.delivery);
        const at = (time: string | undefined): number => Date.parse(time ?? '') - Date.parse(run.createdAt);
        phases.claimed.push(at(run.jobs[0]?.startedAt));
        phases.step.push(at(run.jobs[0]?.steps[0]?.startedAt));
      }
      const warm = times.slice(5);
      const bar = executor === 'sandbox' ? 120 : 450;
      figures[`${executor}_median_ms`] = median(warm);
      figures[`${executor}_p95_ms`] = quantile(warm, 0.95);
      printTable(`first-line with ${executor}: webhook to first log line at an SSE client`, [
        { what: 'median', value: median(warm), unit: 'ms', bar: `<= ${bar} ms`, ok: median(warm) <= bar },
        { what: 'p95', value: quantile(warm, 0.95), unit: 'ms' },
        { what: 'of it until the job is claimed', value: median(phases.claimed.slice(5)), unit: 'ms' },
        { what: 'of it until the step starts', value: median(phases.step.slice(5)), unit: 'ms' },
        { what: 'first of all', value: times[0] ?? Number.NaN, unit: 'ms' },
      ]);
    } finally {
      await product.stop();
    }
  }
  return figures;
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
