/** What must be true when it is quiet again. Every sentence that comes back is a fault. */
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import type { OwnEngine } from '../../test/support/own-engine.ts';
import { type EngineRemains, remainsOnEngine } from '../engine-remains.ts';
import type { Product } from '../../test/support/product.ts';
import type { Job, Run } from '../../src/runs/run.ts';
import { type ExpectedJob, MARK, type PlannedPush } from './pushes.ts';

export interface SentPush {
  push: PlannedPush;
  sha: string;
  delivery: string;
  /** Answered with 202. */
  accepted: boolean;
}

const NOTHING: EngineRemains = { jobs: [], warm: [], warmSlots: new Set() };
const FINAL_STATUS: Record<string, string> = { succeeded: 'success', failed: 'failure', skipped: 'success' };

export interface Checker {
  /** Accepted pushes that have no run in a final state yet, or whose statuses are not all final. */
  open(sent: readonly SentPush[]): Promise<string[]>;
  /** Everything about the pushes. */
  faults(sent: readonly SentPush[]): Promise<string[]>;
  /** What is left in Redis, on the disk and among the processes. */
  leaks(mark: string): Promise<string[]>;
  /** What workers left that were told to stop. */
  afterEnd(): Promise<string[]>;
  close(): void;
}

export function createChecker(product: Product, engine?: OwnEngine): Checker {
  const data = join(product.folder, 'data');
  const foldersIn = (name: string): Promise<string[]> => readdir(join(data, name)).catch(() => []);

  const redis = new Redis({ path: product.redis.url.slice('unix://'.length), maxRetriesPerRequest: null });
  redis.on('error', () => undefined);

  const runsOf = async (sha: string): Promise<Run[]> =>
    (await product.api<{ runs: Run[] }>(`/api/runs?sha=${sha}&limit=100`)).runs;

  /** The last status of each context, and whether one ever went back. */
  const statusesOf = (sha: string): { last: Map<string, string>; backwards: string[] } => {
    const last = new Map<string, string>();
    const finals = new Map<string, string>();
    const backwards: string[] = [];
    for (const post of product.forge.posts.filter((one) => one.sha === sha)) {
      const before = finals.get(post.context);
      if (post.state === 'pending' && before === post.target_url)
        backwards.push(`${post.context} went back to pending`);
      if (post.state !== 'pending') finals.set(post.context, post.target_url);
      last.set(post.context, post.state);
    }
    return { last, backwards };
  };

  const wrongStatuses = ({ push, sha }: SentPush): string[] => {
    const { last, backwards } = statusesOf(sha);
    const wrong = push.jobs.flatMap((job) => {
      const context = `impgem/${job.id}`;
      const want = FINAL_STATUS[job.state];
      return last.get(context) === want ? [] : [`${context} is ${String(last.get(context))}, not ${String(want)}`];
    });
    const foreign = [...last.keys()]
      .filter((context) => !push.jobs.some((job) => context === `impgem/${job.id}`))
      .map((context) => `a status ${context} of no job`);
    return [...wrong, ...foreign, ...backwards];
  };

  const logOf = async (run: string, job: string, step: string, attempt: number): Promise<string> => {
    const query = new URLSearchParams({ job, step, attempt: String(attempt) });
    const response = await fetch(`${product.url}/api/runs/${run}/logs?${query.toString()}`);
    return response.text();
  };

  const wrongJob = async (run: Run, want: ExpectedJob, job: Job | undefined): Promise<string[]> => {
    if (!job) return [`has no job ${want.id}`];
    const faults: string[] = [];
    if (job.state !== want.state) faults.push(`${want.id} is ${job.state} (${job.reason ?? ''}), not ${want.state}`);
    for (const step of want.steps)
      for (let attempt = 1; attempt <= job.attempt; attempt++) {
        const text = await logOf(run.id, job.id, step.name, attempt);
        const isLast = attempt === job.attempt;
        // An attempt that was cut off has a beginning of the log, and nothing else.
        if (isLast ? text !== step.log : !step.log.startsWith(text))
          faults.push(`${want.id}/${step.name} attempt ${attempt} of ${job.attempt}: ${difference(text, step.log)}`);
      }
    return faults;
  };

  const faultsOf = async (one: SentPush): Promise<string[]> => {
    const { push, sha, delivery } = one;
    const runs = await runsOf(sha);
    if (!one.accepted) return runs.length > 1 ? [`${runs.length} runs of a delivery that was never accepted`] : [];
    const [run, ...more] = runs;
    if (!run) return ['no run'];
    if (more.length > 0) return [`${runs.length} runs: ${runs.map((each) => `${each.id} ${each.state}`).join(', ')}`];
    const known = await product.api<{ state: string; runs: string[] }>(`/api/deliveries/${delivery}`);
    const faults: string[] = [];
    if (known.state !== 'planned' || known.runs[0] !== run.id)
      faults.push(`its delivery is ${known.state} with runs ${String(known.runs)}`);
    if (run.state !== push.state) faults.push(`run is ${run.state} (${run.reason ?? ''}), not ${push.state}`);
    for (const want of push.jobs)
      faults.push(
        ...(await wrongJob(
          run,
          want,
          run.jobs.find((job) => job.id === want.id),
        )),
      );
    return [...faults, ...wrongStatuses(one)].map((fault) => `${run.id}: ${fault}`);
  };

  return {
    async open(sent) {
      const open: string[] = [];
      for (const one of sent.filter((each) => each.accepted)) {
        const [run] = await runsOf(one.sha);
        if (!run || run.state === 'pending' || run.state === 'running')
          open.push(`${one.push.repository} #${one.push.number}: ${run?.id ?? ''} ${run?.state ?? 'no run'}`);
        else if (wrongStatuses(one).length > 0)
          open.push(`${one.push.repository} #${one.push.number}: ${run.id} ${wrongStatuses(one).join(', ')}`);
      }
      return open;
    },
    async faults(sent) {
      const all: string[] = [];
      for (const one of sent)
        for (const fault of await faultsOf(one)) all.push(`${one.push.repository} #${one.push.number} ${fault}`);
      return all;
    },
    async leaks(mark) {
      const { jobs, warmSlots } = engine ? await remainsOnEngine(data, engine.host) : NOTHING;
      const [work, warm, journal, active, leases, tickets, processes] = await Promise.all([
        foldersIn('work'),
        foldersIn('warm'),
        foldersIn('journal'),
        redis.zrange('ig:active', 0, '-1'),
        redis.zrange('ig:leases', 0, '-1'),
        queued(redis),
        markedProcesses(mark),
      ]);
      return [
        ...jobs,
        ...warm.filter((name) => !warmSlots.has(name)).map((name) => `warm folder ${name}`),
        ...work.map((name) => `work folder ${name}`),
        ...journal.map((name) => `journal ${name}`),
        ...active.map((id) => `active run ${id}`),
        ...leases.map((lease) => `lease ${lease}`),
        ...tickets.map((key) => `queue entry ${key}`),
        ...processes.map((process) => `process ${process}`),
      ];
    },
    async afterEnd() {
      if (!engine) return [];
      const { jobs, warm } = await remainsOnEngine(data, engine.host);
      const folders = await foldersIn('warm');
      return [...jobs, ...warm, ...folders.map((name) => `warm folder ${name}`)].map((one) => `${one} after the end`);
    },
    close: () => redis.disconnect(),
  };
}

/** Keys of BullMQ jobs in whatever state. */
async function queued(redis: Redis): Promise<string[]> {
  const found: string[] = [];
  let cursor = '0';
  do {
    const [next, keys] = await redis.scan(cursor, 'MATCH', 'impgem:*', 'COUNT', 1000, 'TYPE', 'hash');
    cursor = next;
    found.push(...keys.filter((key) => !key.endsWith(':meta')));
  } while (cursor !== '0');
  return found;
}

/** Processes of steps: they have our variable. */
async function markedProcesses(mark: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '');
    if (!environment.includes(`${MARK}=${mark}`)) continue;
    found.push(`${pid} ${(await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')).replaceAll('\0', ' ')}`);
  }
  return found;
}

function difference(got: string, want: string): string {
  const [mine, theirs] = [got.split('\n'), want.split('\n')];
  const at = mine.findIndex((line, index) => line !== theirs[index]);
  const place = at < 0 ? `ends after ${mine.length - 1} of ${theirs.length - 1} lines` : `line ${at + 1} differs`;
  return `${got.length} bytes instead of ${want.length}; ${place}: ${JSON.stringify(mine[Math.max(0, at)]?.slice(0, 80))}`;
}
