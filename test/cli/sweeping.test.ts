import { pino } from 'pino';
import { expect, it, onTestFinished } from 'vitest';
import { type SweepingDeps, sweepOnce } from '../../src/cli/sweeping.ts';
import { connectRedis } from '../../src/queue/connection.ts';
import { startRedis } from '../support/redis.ts';

type Part = 'queues' | 'runs' | 'artifacts' | 'caches';

/** A sweep of which one part fails. */
async function sweeping(failing?: Part) {
  const server = await startRedis();
  onTestFinished(() => server.stop());
  const told: string[] = [];
  const redis = connectRedis(server.url, 'patient', (message) => told.push(message));
  onTestFinished(() => redis.disconnect());
  const [swept, counted]: [Part[], unknown[]] = [[], []];
  const part =
    <T>(name: Part, gives: T) =>
    (): Promise<T> => {
      swept.push(name);
      return name === failing ? Promise.reject(new Error('a bad sector')) : Promise.resolve(gives);
    };
  const deps: SweepingDeps = {
    redis,
    queues: { labelled: { all: () => Promise.resolve([]), forgetUnused: part('queues', []) } },
    retention: { sweep: part('runs', 1) },
    artifacts: { sweep: part('artifacts', 20) },
    caches: { sweep: part('caches', 300) },
    metrics: { count: (_, labels, by) => void counted.push([labels, by]) },
    log: pino({ enabled: false }),
    onError: (message) => void told.push(message),
  };
  return { deps, told, swept, counted };
}

it.each<Part>(['queues', 'runs', 'artifacts', 'caches'])(
  'a sweep of %s that fails is told of, and the others go on',
  async (failing) => {
    const { deps, told, swept, counted } = await sweeping(failing);
    await sweepOnce(deps);
    expect(told).toEqual([`sweep of ${failing}: a bad sector`]);
    expect(swept).toEqual(['queues', 'runs', 'artifacts', 'caches']);
    expect(counted).toEqual([
      [{ kind: 'artifacts' }, failing === 'artifacts' ? 0 : 20],
      [{ kind: 'caches' }, failing === 'caches' ? 0 : 300],
    ]);
  },
);

it('one server sweeps, the others leave it to it', async () => {
  const { deps, swept } = await sweeping();
  await Promise.all([sweepOnce(deps), sweepOnce(deps)]);
  expect(swept).toHaveLength(4);
});
