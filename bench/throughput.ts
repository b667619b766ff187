import { randomUUID } from 'node:crypto';
import { type Product, pushBody, startProduct } from '../test/support/product.ts';
import { type Figures, printTable } from './report.ts';

const REPOSITORIES = 5;

interface Shape {
  name: string;
  pushes: number;
  jobs: number;
}

const WIDE: Shape = { name: '20 jobs a push', pushes: 40, jobs: 20 };
const NARROW: Shape = { name: 'one job a push', pushes: 150, jobs: 1 };

/**
 * Trivial jobs (clone, one `true`) through the whole path: signed webhook, fetch over HTTP, plan, queue, workspace,
 * sandbox, log, two statuses at the forge. From the first webhook to the last final status.
 */
export async function benchThroughput(): Promise<Figures> {
  const figures: Figures = {};
  const rows = [];
  for (const shape of [WIDE, NARROW]) {
    for (const workers of [1, 2]) {
      const rate = await measure(shape, workers);
      process.stderr.write(`throughput: ${shape.name}, ${workers}: ${Math.round(rate)} a minute\n`);
      figures[`${shape === WIDE ? 'wide' : 'narrow'}_${workers}`] = rate;
      const bar = shape === WIDE && workers === 2 ? { bar: '>= 2000', ok: rate >= 2000 } : {};
      rows.push({
        what: `${shape.name}, ${workers} worker${workers > 1 ? 's' : ''}`,
        value: rate,
        unit: 'jobs/min',
        ...bar,
      });
    }
    const key = shape === WIDE ? 'wide' : 'narrow';
    const gain = (figures[`${key}_2`] ?? 0) / (figures[`${key}_1`] ?? 1);
    rows.push({ what: `${shape.name}, two workers of one`, value: gain, unit: '', bar: '> 1', ok: gain > 1 });
  }
  printTable('throughput: trivial sandbox jobs, webhook to status, workers as they come (two jobs at once each)', rows);
  return figures;
}

async function measure({ pushes, jobs }: Shape, workers: number): Promise<number> {
  const product = await startProduct({
    IMPGEM_CATCH_UP: 'off',
    IMPGEM_LOG_LEVEL: 'info',
  });
  try {
    for (let index = 0; index < workers; index++) await product.startWorker({ IMPGEM_WORKER_NAME: `w${index}` });
    const sent = await commits(product, pushes, jobs);
    // The first run of each repository clones it; that is not what is measured.
    await Promise.all(sent.splice(0, REPOSITORIES).map((push) => product.send('push', push.body)));
    await untilFinal(product, jobs * REPOSITORIES);
    const before = finals(product);
    const startedAt = performance.now();
    await Promise.all(sent.map(({ body }) => product.send('push', body, { 'x-gitea-delivery': randomUUID() })));
    await untilFinal(product, before + sent.length * jobs);
    return (sent.length * jobs * 60_000) / (performance.now() - startedAt);
  } finally {
    await product.stop();
  }
}

async function untilFinal(product: Product, count: number): Promise<void> {
  while (finals(product) < count) await product.forge.posted(product.forge.posts.length + 1);
}

const finals = (product: Product): number => product.forge.posts.filter((post) => post.state === 'success').length;

async function commits(product: Product, pushes: number, jobs: number): Promise<{ body: object }[]> {
  const cells = Array.from({ length: jobs }, (_, index) => index).join(', ');
  const pipeline = `jobs:\n  go:\n    matrix: { cell: [${cells}] }\n    steps: [{ run: "true" }]\n`;
  const sent: { body: object }[] = [];
  for (let index = 0; index < pushes + REPOSITORIES; index++) {
    const name = `gem/r${index % REPOSITORIES}`;
    const repository = await product.repository(name);
    const before = await repository.git('rev-parse', '-q', '--verify', 'HEAD').catch(() => '0'.repeat(40));
    const sha = await repository.commit({ '.impgem.yml': pipeline, 'file.txt': `${index}` });
    sent.push({ body: pushBody(name, 'main', before, sha, 'Change') });
  }
  return sent;
}
