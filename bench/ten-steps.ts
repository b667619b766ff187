/**
 * Ten `true` steps of the docker executor, from prepare to the last exit and dispose, with a warm slot as between jobs of
 * a running worker; beside ten raw create + start + wait calls in a row, of the same isolation, joined to a network.
 */
import { dockerTask, openDockerBench, pause, quantile, type DockerBench } from './docker-bench.ts';

const ROUNDS = 7;
const STEPS = 10;
const signal = new AbortController().signal;

export async function benchTenSteps(): Promise<Record<string, number>> {
  const bench = await openDockerBench();
  try {
    const rounds: Round[] = [];
    const raw: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      await bench.warm();
      raw.push(await bench.raw.run(STEPS));
      await pause(500); // The engine still clears away.
      rounds.push(await tenSteps(bench));
    }
    const total = quantile(
      rounds.map((round) => round.total),
      0.5,
    );
    const rawTotal = quantile(raw, 0.5);
    return {
      tenStepsMs: total,
      tenRawMs: rawTotal,
      ratio: total / rawTotal,
      barRatio: 0.6,
      prepareMs: quantile(
        rounds.map((round) => round.prepare),
        0.5,
      ),
      firstThreeMs: quantile(
        rounds.map((round) => sum(round.steps.slice(0, 3))),
        0.5,
      ),
      otherSevenMs: quantile(
        rounds.map((round) => sum(round.steps.slice(3))),
        0.5,
      ),
      disposeMs: quantile(
        rounds.map((round) => round.dispose),
        0.5,
      ),
    };
  } finally {
    await bench.close();
  }
}

interface Round {
  total: number;
  prepare: number;
  steps: number[];
  dispose: number;
}

async function tenSteps(bench: DockerBench): Promise<Round> {
  const tasks = Array.from({ length: STEPS }, (_, index) => dockerTask(String(index), 'true'));
  const clock = lapTimer();
  const job = await bench.job();
  job.expect(tasks);
  const prepare = clock();
  const steps: number[] = [];
  for (const [index, task] of tasks.entries()) {
    job.expect(tasks.slice(index + 1));
    const { code } = await job.start(task, { write: () => Promise.resolve() }, { signal });
    if (code !== 0) throw new Error(`a step ended with ${code}`);
    steps.push(clock());
  }
  await job.dispose();
  const dispose = clock();
  return { total: prepare + sum(steps) + dispose, prepare, steps, dispose };
}

function lapTimer(): () => number {
  let last = performance.now();
  return () => {
    const now = performance.now();
    const lap = now - last;
    last = now;
    return lap;
  };
}

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
