import { expect, it } from 'vitest';
import { runChaos } from '../../bench/chaos/run-chaos.ts';

// The short form of `npm run bench -- chaos`; its seed is printed, so that what it finds can be looked for again. What one
// seed finds another may not: it is never tried a second time.
const seed = Math.floor(Math.random() * 2 ** 31);
// An engine of its own needs the rights to make one.
const docker = process.getuid?.() === 0;
const what = docker ? 'servers, workers, Redis and the engine are' : 'servers, workers and Redis are';

it(`loses nothing while ${what} killed and the forge fails`, { retry: 0, timeout: 400_000 }, async () => {
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
