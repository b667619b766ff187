/** Pushes while everything is killed; then quiet; then every push is held against what must have come of it. */
import { randomUUID } from 'node:crypto';
import { cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { signDelivery } from '../../test/support/fake-forge.ts';
import { type Product, SECRET, pushBody, startProduct } from '../../test/support/product.ts';
import { type OwnEngine, startOwnEngine } from '../../test/support/own-engine.ts';
import { type Cast, DOCKER_LABEL, gather } from './cast.ts';
import { type SentPush, createChecker } from './check.ts';
import { type PlannedPush, planPush } from './pushes.ts';
import { type Random, createRandom } from './random.ts';
import { createTrouble } from './trouble.ts';

export interface ChaosOptions {
  seed: number;
  pushes: number;
  strikes: number;
  /** Pushes and strikes are spread over this long. */
  troubleMs: number;
  /** How long it may take until everything is over and clean. */
  quietMs: number;
  /** After this it is ended, whatever is still open; that is a fault. */
  wholeMs: number;
  /** With docker workers beside the others, over an engine of its own that is killed, too. Needs root. */
  docker: boolean;
  /** Where the data folder and all that servers and workers said go when there are faults. */
  keep?: string;
  say?: (line: string) => void;
}

export interface ChaosReport {
  seed: number;
  sent: number;
  accepted: number;
  /** Sendings of a delivery that was accepted already. */
  doubled: number;
  /** Deliveries that were accepted after one of a later commit of the same repository. */
  reordered: number;
  /** What was done how often. */
  trouble: Record<string, number>;
  /** ms from the last strike until all runs were over with their statuses delivered. */
  quietAfterMs: number;
  seconds: number;
  faults: string[];
}

const REPOSITORIES = 20;
/** A forge's operator (or a balancer) tries again this often where nobody takes a delivery. */
const SENDINGS = 60;

export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const startedAt = performance.now();
  const product = await startProduct({
    IMPGEM_FETCH_TIMEOUT: '5s',
    // Workers die so often that a job may well lose several in a row.
    IMPGEM_MAX_LOSSES: '50',
    IMPGEM_CATCH_UP: 'off',
  });
  const late = new AbortController();
  const engine = options.docker ? await startOwnEngine() : undefined;
  try {
    return await Promise.race([
      disturb(options, product, engine, startedAt),
      sleep(options.wholeMs, undefined, { signal: late.signal }).then((): ChaosReport => {
        const seconds = (performance.now() - startedAt) / 1000;
        return { ...NOTHING, seed: options.seed, seconds, faults: [`not over after ${Math.round(seconds)} s`] };
      }),
    ]);
  } finally {
    late.abort();
    await product.stop();
    await engine?.stop();
  }
}

const NOTHING = { sent: 0, accepted: 0, doubled: 0, reordered: 0, trouble: {}, quietAfterMs: 0 };

async function disturb(
  options: ChaosOptions,
  product: Product,
  engine: OwnEngine | undefined,
  startedAt: number,
): Promise<ChaosReport> {
  const say = options.say ?? (() => undefined);
  const random = createRandom(options.seed);
  const mark = `chaos-${options.seed}`;
  const cast = await gather(product, random, engine);
  const trouble = createTrouble({ random, cast, forge: product.forge, git: product.git, say });
  const sending = createSending(product, cast, random, say);
  let repository = '';
  const plans = Array.from({ length: options.pushes }, (_, number) => {
    // Often the same again, so that deliveries of one repository can pass each other.
    if (number === 0 || random.chance(0.6)) repository = `chaos/r${random.between(0, REPOSITORIES - 1)}`;
    return planPush(random, repository, number, mark, engine && DOCKER_LABEL);
  });
  await Promise.all([
    spread(options.troubleMs, plans, (plan) => sending.push(plan)),
    spread(options.troubleMs, Array.from({ length: options.strikes }), () => trouble.strike()),
    spread(options.troubleMs, Array.from({ length: Math.ceil(options.troubleMs / 8000) }), () =>
      trouble.changeWeather(),
    ),
  ]);
  say('no more trouble');
  const quietFrom = performance.now();
  await trouble.end();
  const sent = await sending.done();
  const alive = cast.servers.map((server) => server.url?.()).find((url) => url !== undefined);
  product.url = alive ?? product.url;

  const checker = createChecker(product, engine);
  try {
    const deadline = performance.now() + options.quietMs;
    await settle(deadline, () => checker.open(sent), say);
    const quietAfterMs = performance.now() - quietFrom;
    const leaks = await settle(deadline, () => checker.leaks(mark), say);
    const faults = [...(await checker.faults(sent)), ...leaks];
    await Promise.all(cast.workers.map((worker) => worker.end()));
    faults.push(...(await checker.afterEnd()));
    if (faults.length > 0) {
      for (const line of cast.lines().filter((text) => /"level":(5|6)0/.test(text))) say(line);
      if (options.keep !== undefined) await keepEvidence(options.keep, product, cast, engine);
    }
    return {
      seed: options.seed,
      sent: sent.length,
      accepted: sent.filter((one) => one.accepted).length,
      doubled: sending.doubled(),
      reordered: sending.reordered(),
      trouble: Object.fromEntries([...trouble.counts].sort()),
      quietAfterMs,
      seconds: (performance.now() - startedAt) / 1000,
      faults,
    };
  } finally {
    checker.close();
  }
}

async function keepEvidence(
  folder: string,
  product: Product,
  cast: Cast,
  engine: OwnEngine | undefined,
): Promise<void> {
  await cp(join(product.folder, 'data'), join(folder, 'data'), { recursive: true, verbatimSymlinks: true });
  await writeFile(join(folder, 'lines'), cast.lines().join('\n'));
  await writeFile(join(folder, 'posts.json'), JSON.stringify(product.forge.posts));
  if (!engine) return;
  const containers = (await engine.docker('ps', '-aq')).split('\n').filter(Boolean);
  await writeFile(join(folder, 'containers.json'), await engine.docker('inspect', ...containers));
}

/** Does one thing for each item, evenly over the time; what takes longer is waited for at the end. */
async function spread<T>(ms: number, items: readonly T[], what: (item: T) => Promise<void> | void): Promise<void> {
  const startedAt = performance.now();
  const under: Promise<void>[] = [];
  for (const [index, item] of items.entries()) {
    await sleep(Math.max(0, startedAt + (ms * (index + 1)) / items.length - performance.now()));
    under.push(Promise.resolve(what(item)));
  }
  await Promise.all(under);
}

/** Looks again until nothing is left or the time is over; gives what is left. */
async function settle(deadline: number, look: () => Promise<string[]>, say: (line: string) => void): Promise<string[]> {
  for (;;) {
    const left = await look();
    if (left.length === 0 || performance.now() > deadline) return left;
    say(`${left.length} left: ${left.slice(0, 3).join('; ')}`);
    await sleep(1000);
  }
}

/** Commits and sends as a forge does: once, doubled, late; what nobody took is sent again under the same id. */
function createSending(product: Product, cast: Cast, random: Random, say: (line: string) => void) {
  const sent: SentPush[] = [];
  const under = new Set<Promise<void>>();
  const lines = new Map<string, Promise<unknown>>();
  let doubled = 0;
  let reordered = 0;
  const newest = new Map<string, number>();

  const post = async (delivery: string, body: string): Promise<number> => {
    const server = random.pick(cast.servers);
    const url = server.url?.();
    if (url === undefined) return 0;
    const response = await fetch(`${url}/webhooks/gitea`, {
      method: 'POST',
      body,
      headers: signDelivery('gitea', SECRET, body, { event: 'push', delivery }),
      signal: AbortSignal.timeout(10_000),
    }).catch(() => undefined);
    await response?.arrayBuffer().catch(() => undefined);
    return response?.status ?? 0;
  };

  const deliver = async (one: SentPush, body: string): Promise<void> => {
    await sleep(one.push.delayMs);
    for (let tries = 0; tries < SENDINGS && !one.accepted; tries++) {
      const status = await post(one.delivery, body);
      one.accepted = status === 202;
      if (one.accepted) {
        const { repository, number } = one.push;
        if ((newest.get(repository) ?? 0) > number) reordered++;
        newest.set(repository, Math.max(number, newest.get(repository) ?? 0));
      }
      if (status !== 202 && status !== 503 && status !== 0) say(`delivery answered with ${status}`);
      if (!one.accepted) await sleep(random.between(50, 800));
    }
    for (const ms of one.push.againMs) {
      await sleep(ms);
      doubled++;
      await post(one.delivery, body);
    }
  };

  /** Commits of one repository follow each other; nobody waits for its deliveries. */
  const commit = async (push: PlannedPush): Promise<void> => {
    const repository = await product.repository(push.repository);
    const before = await repository.git('rev-parse', '-q', '--verify', 'HEAD').catch(() => '0'.repeat(40));
    const sha = await repository.commit({ '.impgem.yml': push.pipeline }, { message: `Push ${push.number}` });
    const one: SentPush = { push, sha, delivery: randomUUID(), accepted: false };
    sent.push(one);
    const delivered = deliver(
      one,
      JSON.stringify(pushBody(push.repository, 'main', before, sha, `Push ${push.number}`)),
    );
    under.add(delivered);
    void delivered.finally(() => under.delete(delivered));
  };

  return {
    async push(push: PlannedPush): Promise<void> {
      const before = lines.get(push.repository) ?? Promise.resolve();
      const now = before.then(() => commit(push));
      lines.set(push.repository, now);
      await now;
    },
    async done(): Promise<SentPush[]> {
      while (under.size > 0) await Promise.all(under);
      return sent;
    },
    doubled: () => doubled,
    reordered: () => reordered,
  };
}
