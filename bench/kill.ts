/**
 * `npm run bench -- kill [--seed N] [--kills N] [--runs N]`: the worker is killed with -9 at random moments while runs of known
 * output are under way in containers. Every run must end right, every log be byte for byte what an undisturbed run has,
 * and nothing be left.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type OwnEngine, startOwnEngine } from '../test/support/own-engine.ts';
import { type Process, type Product, TOKEN, isOver, startProduct } from '../test/support/product.ts';
import type { Run } from '../src/runs/run.ts';
import { numberArgument } from './arguments.ts';
import { type Random, createRandom } from './chaos/random.ts';
import { remainsOnEngine } from './engine-remains.ts';
import { type KnownRun, knownRun } from './kill/known-run.ts';
import { type Figures, printTable } from './report.ts';

const KILLS = 50;
const RUNS = 25;
/** From one start of the worker to its end: some lives are too short for a job to get under way, most are not. */
const LIFE_MS = [100, 6000] as const;
/** Reapers leave alone what is young. */
const CLEAN_MS = 240_000;
const RUN_MS = 300_000;

export async function benchKill(): Promise<Figures> {
  const seed = numberArgument('--seed') ?? Math.floor(Math.random() * 2 ** 31);
  const kills = numberArgument('--kills') ?? KILLS;
  const runs = numberArgument('--runs') ?? RUNS;
  process.stderr.write(`kill: seed ${seed}\n`);
  // Others' networks would take the pools of a shared one.
  const engine = await startOwnEngine();
  const product = await startProduct({
    DOCKER_HOST: engine.host,
    IMPGEM_EXECUTOR: 'docker',
    IMPGEM_CONCURRENCY: '2',
    // One job may well lose several workers here.
    IMPGEM_MAX_LOSSES: String(kills + 1),
  });
  try {
    return report(seed, await killAndCheck(product, engine, createRandom(seed), kills, runs));
  } finally {
    await product.stop();
    await engine.stop();
  }
}

interface Outcome {
  kills: number;
  /** Of jobs at work when their worker was killed. */
  struck: number;
  runs: number;
  /** Runs that went on in their first attempt. */
  adopted: number;
  faults: string[];
  seconds: number;
}

async function killAndCheck(
  product: Product,
  engine: OwnEngine,
  random: Random,
  kills: number,
  runs: number,
): Promise<Outcome> {
  const startedAt = performance.now();
  let worker = await product.startWorker();
  const quiet = [await pushKnown(product, 0), await pushKnown(product, 2)];
  const faults = (await Promise.all(quiet.map((one) => faultsOf(product, one))))
    .flat()
    .map((fault) => `undisturbed: ${fault}`);
  const [said = ''] = (await logOf(product, await endOf(product, quiet[0]!), '', 1))
    .toString()
    .split(/^(?!\[impgem\])/m);
  const pushed: Pushed[] = [];
  let struck = 0;
  for (let kill = 0; kill < kills; kill += 1) {
    while (pushed.length < Math.ceil(((kill + 1) * runs) / kills))
      pushed.push(await pushKnown(product, 3 + pushed.length));
    await sleep(random.between(...LIFE_MS));
    struck += await countRunning(product);
    await worker.stop('SIGKILL');
    worker = await product.startWorker();
  }
  for (const one of pushed) faults.push(...(await faultsOf(product, one, said)));
  const ends = await Promise.all(pushed.map((one) => endOf(product, one)));
  faults.push(...(await leaks(product, engine, worker)));
  return {
    kills,
    struck,
    runs: pushed.length,
    adopted: ends.filter((run) => run.jobs.every((job) => job.attempt === 1)).length,
    faults,
    seconds: (performance.now() - startedAt) / 1000,
  };
}

function report(seed: number, { faults, kills, struck, runs, adopted, seconds }: Outcome): Figures {
  for (const fault of faults) process.stderr.write(`FAULT ${fault}\n`);
  printTable(`kill, seed ${seed}: the worker is killed in the middle of docker steps`, [
    { what: 'kills -9', value: kills, unit: '' },
    { what: 'jobs at work when killed', value: struck, unit: '' },
    { what: 'runs of known output', value: runs, unit: '' },
    { what: 'carried on in one attempt', value: adopted, unit: `of ${runs}` },
    { what: 'whole', value: seconds, unit: 's' },
    { what: 'faults', value: faults.length, unit: '', bar: '0', ok: faults.length === 0 },
  ]);
  return { seed, kills, struck, runs, adopted, seconds, faults: faults.length };
}

interface Pushed {
  number: number;
  known: KnownRun;
  delivery: string;
}

async function pushKnown(product: Product, number: number): Promise<Pushed> {
  const known = knownRun(number);
  const { delivery } = await product.push(`kill/r${number}`, { '.impgem.yml': known.pipeline });
  return { number, known, delivery };
}

function endOf(product: Product, { delivery, number }: Pushed): Promise<Run> {
  return Promise.race([
    product.runOf(delivery),
    sleep(RUN_MS, undefined, { ref: false }).then(() => {
      throw new Error(`run ${number} did not end within ${RUN_MS} ms`);
    }),
  ]);
}

async function countRunning(product: Product): Promise<number> {
  const { runs } = await product.api<{ runs: Run[] }>('/api/runs?limit=100');
  return runs.filter((run) => !isOver(run)).flatMap((run) => run.jobs.filter((job) => job.state === 'running')).length;
}

async function logOf(product: Product, run: Run, step: string, attempt: number): Promise<Buffer> {
  const query = new URLSearchParams({ job: 'main', ...(step === '' ? {} : { step }), attempt: String(attempt) });
  const headers = { authorization: `Bearer ${TOKEN}` };
  const response = await fetch(`${product.url}/api/runs/${run.id}/logs?${query.toString()}`, { headers });
  return Buffer.from(await response.arrayBuffer());
}

/** `said`: what the job's own log has in an undisturbed run; the steps' logs come behind it. */
async function faultsOf(product: Product, pushed: Pushed, said?: string): Promise<string[]> {
  const { known } = pushed;
  const run = await endOf(product, pushed);
  const faults: string[] = [];
  const [job] = run.jobs;
  if (!job) return [`run ${pushed.number} has no job`];
  if (run.state !== known.state) faults.push(`is ${run.state} (${run.reason ?? job.reason ?? ''}), not ${known.state}`);
  for (const [index, want] of known.steps.entries()) {
    const { exitCode } = job.steps[index] ?? {};
    if (exitCode !== want.exitCode) faults.push(`${want.name} ended with ${String(exitCode)}, not ${want.exitCode}`);
    for (let attempt = 1; attempt <= job.attempt; attempt += 1) {
      const log = await logOf(product, run, want.name, attempt);
      const right = attempt === job.attempt ? log.equals(want.log) : want.log.subarray(0, log.length).equals(log);
      if (!right) faults.push(`${want.name}, attempt ${attempt} of ${job.attempt}: ${difference(log, want.log)}`);
    }
  }
  if (said !== undefined) {
    const log = await logOf(product, run, '', job.attempt);
    const lost = '[impgem] worker w1 was restarted; nothing of it is left, so the job starts over\n';
    const want = Buffer.concat([
      Buffer.from(job.attempt > 1 ? lost + said : said),
      ...known.steps.map((step) => step.log),
    ]);
    if (!log.equals(want)) faults.push(`the job's whole log: ${difference(log, want)}`);
  }
  const { artifacts } = await product.api<{ artifacts: { path: string; size: number; sha256: string }[] }>(
    `/api/runs/${run.id}/artifacts`,
  );
  const [artifact] = artifacts;
  const { path, size, sha256 } = known.artifact;
  if (artifacts.length !== 1 || artifact?.path !== path || artifact.size !== size || artifact.sha256 !== sha256)
    faults.push(`artifacts are ${JSON.stringify(artifacts)}`);
  return faults.map((fault) => `run ${pushed.number} (${run.id}): ${fault}`);
}

function difference(got: Buffer, want: Buffer): string {
  let at = 0;
  while (at < got.length && got[at] === want[at]) at += 1;
  return `${got.length} bytes instead of ${want.length}, different from byte ${at}: ${JSON.stringify(got.subarray(at, at + 60).toString('latin1'))}`;
}

/** With the worker alive nothing of a job may be left, and nothing at all once it was told to stop. */
async function leaks(product: Product, engine: OwnEngine, worker: Process): Promise<string[]> {
  const data = join(product.folder, 'data');
  const deadline = performance.now() + CLEAN_MS;
  const foldersIn = (name: string): Promise<string[]> => readdir(join(data, name)).catch((): string[] => []);
  const ofJobs = async (): Promise<string[]> => {
    const { jobs, warmSlots } = await remainsOnEngine(data, engine.host);
    const [work, warm] = await Promise.all([foldersIn('work'), foldersIn('warm')]);
    return [
      ...jobs,
      ...work.map((name) => `work folder ${name}`),
      ...warm.filter((name) => !warmSlots.has(name)).map((name) => `warm folder ${name}`),
    ];
  };
  let left = await ofJobs();
  while (left.length > 0 && performance.now() < deadline) {
    await sleep(1000);
    left = await ofJobs();
  }
  await worker.stop('SIGTERM');
  const { jobs, warm } = await remainsOnEngine(data, engine.host);
  const folders = await foldersIn('warm');
  return [...left, ...jobs, ...warm, ...folders.map((name) => `warm folder ${name}`)].map((name) => `left: ${name}`);
}
