import { expect, it } from 'vitest';
import { runChaos } from '../../bench/chaos/run-chaos.ts';

// The short form of `npm run bench -- chaos`; its seed is printed, so that what it finds can be looked for again.
it('loses nothing while servers, workers, Redis and the engine are killed and the forge fails', async () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  console.info(`chaos: seed ${seed}`);
  const report = await runChaos({
    seed,
    pushes: 40,
    strikes: 28,
    troubleMs: 60_000,
    quietMs: 180_000,
    wholeMs: 330_000,
    // An engine of its own needs the rights to make one.
    docker: process.getuid?.() === 0,
  });
  console.info(JSON.stringify(report));
  expect(report.faults).toEqual([]);
  expect(report.accepted).toBeGreaterThan(30);
}, 400_000);
