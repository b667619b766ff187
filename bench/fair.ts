import { type Product, SECRET, isOver, pushBody, startProduct } from '../test/support/product.ts';
import { signDelivery } from '../test/support/fake-forge.ts';
import { type Figures, load, printTable } from './report.ts';

const ROUNDS = 5;
const COUNT = 10_000;
const CONNECTIONS = 20;
/** Of a push: as many cells as a matrix may have. */
const JOBS = 250;
const BAR_MS = 2000;
const STEP = 'steps: [{ run: "true" }]\n';

/** What 10,000 entries of one repository cost another's push: once as pushes that wait to be planned, once as jobs that wait for a worker. */
export async function benchFair(): Promise<Figures> {
  const pushes = await measure(sendPushes);
  const jobs = await measure(queueJobs);
  const rows = Object.entries({ 'pushes to be planned': pushes, 'jobs that wait': jobs }).flatMap(
    ([what, { alone, behind, left }]) => [
      { what: `alone, before ${what}`, value: alone, unit: 'ms' },
      {
        what: `behind ${what}`,
        value: behind,
        unit: 'ms',
        bar: `<= ${BAR_MS} ms later`,
        ok: behind - alone <= BAR_MS,
      },
      { what: `${what}, left by then`, value: left, unit: `of ${COUNT}` },
    ],
  );
  printTable(`fair: from a webhook to the end of its run, slowest of ${ROUNDS}; sandbox`, rows);
  return {
    pushes_alone_ms: pushes.alone,
    pushes_behind_ms: pushes.behind,
    jobs_alone_ms: jobs.alone,
    jobs_behind_ms: jobs.behind,
  };
}

interface Backlog {
  /** Entries that wait. */
  left(): Promise<number>;
}

async function measure(fill: (product: Product) => Promise<Backlog>) {
  const product = await startProduct({ IMPGEM_EXECUTOR: 'sandbox' });
  try {
    let worker = await product.startWorker();
    const alone = await pushSome(product);
    await worker.stop();
    const backlog = await fill(product);
    worker = await product.startWorker();
    const behind = await pushSome(product);
    return { alone: Math.max(...alone), behind: Math.max(...behind), left: await backlog.left() };
  } finally {
    await product.stop();
  }
}

/** ms from the webhook to the end of the run, by the server's clock: a client that asks often would be in it. */
async function pushSome(product: Product): Promise<number[]> {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const sentAt = Date.now();
    const { delivery } = await product.push('gem/small', { '.impgem.yml': STEP, round: `${sentAt}` });
    const run = await product.runOf(delivery);
    if (run.state !== 'succeeded') throw new Error(`the run is ${run.state}: ${run.reason ?? ''}`);
    times.push(Date.parse(run.endedAt ?? '') - sentAt);
  }
  return times;
}

async function sendPushes(product: Product): Promise<Backlog> {
  const repository = await product.repository('gem/big');
  const sha = await repository.commit({ '.impgem.yml': STEP });
  const body = JSON.stringify(pushBody('gem/big', 'main', '0'.repeat(40), sha, 'Change'));
  const { statuses } = await load(COUNT, CONNECTIONS, (index) => ({
    url: `${product.url}/webhooks/gitea`,
    body,
    headers: signDelivery('gitea', SECRET, body, { delivery: `fair-${index}` }),
  }));
  if (statuses.get(202) !== COUNT) throw new Error(`accepted: ${statuses.get(202)}`);
  return { left: () => product.metric('impgem_queue_depth', 'queue="events",state="prioritized"') };
}

async function queueJobs(product: Product): Promise<Backlog> {
  const cells = JSON.stringify(Array.from({ length: JOBS }, (_, index) => index));
  const pipeline = `jobs:\n  main:\n    matrix: { cell: ${cells} }\n    ${STEP}`;
  for (let push = 0; push < COUNT / JOBS; push++) {
    const { delivery } = await product.push('gem/big', { '.impgem.yml': pipeline, push: `${push}` });
    const run = await product.runOf(delivery, () => true);
    if (isOver(run)) throw new Error(`the run is ${run.state}: ${run.reason ?? ''}`);
  }
  return { left: () => product.metric('impgem_queue_depth', 'queue="jobs",state="prioritized"') };
}
