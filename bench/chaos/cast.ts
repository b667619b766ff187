/** Who is killed: servers and workers over one Redis and one data folder. Each knows whether it is up, and can be had again. */
import type { Process, Product } from '../../test/support/product.ts';

export interface Actor {
  name: string;
  kind: 'server' | 'worker' | 'redis';
  isUp(): boolean;
  /** Address of a server that is up. */
  url?(): string | undefined;
  kill(): Promise<void>;
  start(): Promise<void>;
  /** STOP, and later CONT. */
  freeze(): void;
  thaw(): void;
}

export interface Cast {
  actors: Actor[];
  servers: Actor[];
  workers: Actor[];
  redis: Actor;
  /** All lines that servers and workers said. */
  lines(): string[];
}

/** `product` has its first server already. */
export async function gather(product: Product): Promise<Cast> {
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
    freeze: () => signal(product.redis.pid(), 'SIGSTOP'),
    thaw: () => signal(product.redis.pid(), 'SIGCONT'),
  };
  const servers = [server('s1', product.server), server('s2')];
  const workers = [worker('w1'), worker('w2')];
  await Promise.all([...servers, ...workers].map((actor) => actor.start()));
  return {
    actors: [...servers, ...workers, redis],
    servers,
    workers,
    redis,
    lines: () => processes.flatMap((one) => one.lines),
  };
}

function signal(pid: number | undefined, name: NodeJS.Signals): void {
  if (pid !== undefined) process.kill(pid, name);
}
