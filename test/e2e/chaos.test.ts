import { expect, it } from 'vitest';
import { runChaos } from '../../bench/chaos/run-chaos.ts';

// The short form of `npm run bench -- chaos`; its seed is printed, so that what it finds can be looked for again. Tried a second time
// in CI as every test is, with another seed: what the first found is then said at the end of the run.
// An engine of its own needs the rights to make one.
const docker = process.getuid?.() === 0;
const what = docker ? 'servers, workers, Redis and the engine are' : 'servers, workers and Redis are';

it(`loses nothing while ${what} killed and the forge fails`, { timeout: 400_000 }, async () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  console.info(`chaos: seed ${seed}${docker ? '' : ', without docker workers and their engine: that takes root'}`);
  const report = await runChaos({
    seed,
    pushes: 40,
    strikes: 28,
    troubleMs: 60_000,
    quietMs: 180_000,
    wholeMs: 330_000,
    docker,
  });
  console.info(JSON.stringify(report));
  expect(report.faults).toEqual([]);
  expect(report.accepted).toBeGreaterThan(30);
});
