/** Who is killed: servers and workers over one Redis, one data folder and one Docker engine. Each knows whether it is up, and can be had again. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { OwnEngine } from '../../test/support/own-engine.ts';
import type { Process, Product } from '../../test/support/product.ts';
import type { Random } from './random.ts';

export interface Actor {
  name: string;
  kind: 'server' | 'worker' | 'redis' | 'engine';
  isUp(): boolean;
  /** Address of a server that is up. */
  url?(): string | undefined;
  kill(): Promise<void>;
  start(): Promise<void>;
  /** TERM, and its end. */
  end(): Promise<void>;
  /** STOP, and later CONT. */
  freeze(): void;
  thaw(): void;
}

export interface Cast {
  actors: Actor[];
  servers: Actor[];
  workers: Actor[];
  redis: Actor;
  engine?: Actor;
  /** All lines that servers and workers said. */
  lines(): string[];
}

/** A worker of this label runs jobs in containers. */
export const DOCKER_LABEL = 'docker';
/** So often an engine (or a worker that finds none) is started until it stays. */
const TRIES = 60;

/** `product` has its first server already. With an engine, two of the workers are docker workers. */
export async function gather(product: Product, random: Random, engine?: OwnEngine): Promise<Cast> {
  const processes: Process[] = [];
  const own = (
    name: string,
    kind: Actor['kind'],
    launch: () => Promise<Process>,
    first?: Process,
  ): Actor & { process(): Process | undefined } => {
    let running = first;
    if (first) processes.push(first);
    return {
      name,
      kind,
      isUp: () => running !== undefined,
      process: () => running,
      async kill() {
        const dying = running;
        running = undefined;
        await dying?.stop('SIGKILL');
      },
      async start() {
        running ??= await launch();
        processes.push(running);
      },
      async end() {
        await running?.stop('SIGTERM');
        running = undefined;
      },
      freeze: () => signal(running?.pid, 'SIGSTOP'),
      thaw: () => signal(running?.pid, 'SIGCONT'),
    };
  };
  const server = (name: string, first?: Process): Actor => {
    const actor = own(name, 'server', () => product.startServer(), first);
    const urlOf = (one: Process | undefined): string | undefined =>
      one?.lines.map((line) => /"url":"([^"]+)"/.exec(line)?.[1]).find((url) => url !== undefined);
    return { ...actor, url: () => urlOf(actor.process()) };
  };
  const worker = (name: string): Actor =>
    own(name, 'worker', () => product.startWorker({ IMPGEM_WORKER_NAME: name, IMPGEM_CONCURRENCY: '3' }));
  const dockerWorker = (name: string, host: string): Actor => {
    const env = {
      IMPGEM_WORKER_NAME: name,
      IMPGEM_WORKER_LABELS: DOCKER_LABEL,
      IMPGEM_CONCURRENCY: '2',
      IMPGEM_EXECUTOR: 'docker',
      DOCKER_HOST: host,
    };
    return own(name, 'worker', () => untilStarted(() => product.startWorker(env)));
  };
  let redisUp = true;
  const redis: Actor = {
    name: 'redis',
    kind: 'redis',
    isUp: () => redisUp,
    async kill() {
      redisUp = false;
      await product.redis.kill();
    },
    async start() {
      await product.redis.start();
      redisUp = true;
    },
    end: () => product.redis.stop(),
    freeze: () => signal(product.redis.pid(), 'SIGSTOP'),
    thaw: () => signal(product.redis.pid(), 'SIGCONT'),
  };
  const servers = [server('s1', product.server), server('s2')];
  const workers = [
    worker('w1'),
    worker('w2'),
    ...(engine ? [dockerWorker('d1', engine.host), dockerWorker('d2', engine.host)] : []),
  ];
  const engineActor = engine && actorOf(engine, random);
  await Promise.all([...servers, ...workers].map((actor) => actor.start()));
  return {
    actors: [...servers, ...workers, redis, ...(engineActor ? [engineActor] : [])],
    servers,
    workers,
    redis,
    ...(engineActor ? { engine: engineActor } : {}),
    lines: () => processes.flatMap((one) => one.lines),
  };
}

function actorOf(engine: OwnEngine, random: Random): Actor {
  return {
    name: 'engine',
    kind: 'engine',
    isUp: () => engine.isUp(),
    kill: () => engine.kill(),
    start: async () => {
      engine.liveRestore = random.chance(0.5);
      await untilStarted(() => engine.start());
    },
    end: () => engine.stop(),
    freeze: () => signal(engine.pid(), 'SIGSTOP'),
    thaw: () => signal(engine.pid(), 'SIGCONT'),
  };
}

/** As whatever supervises it would: a worker that finds no engine ends, and is started again. */
async function untilStarted<T>(start: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await start();
    } catch (error) {
      if (tries === TRIES) throw error;
      await sleep(500);
    }
  }
}

function signal(pid: number | undefined, name: NodeJS.Signals): void {
  if (pid !== undefined) process.kill(pid, name);
}
