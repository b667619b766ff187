/**
 * Ten `true` steps of the docker executor, from prepare to the last exit and dispose, with a warm slot as between jobs of
 * a running worker; beside ten raw create + start + wait calls in a row, of the same isolation, joined to a network.
 */
import { dockerTask, openDockerBench, pause, type DockerBench } from './docker-bench.ts';
import { type Figures, median, printTable } from './report.ts';

const ROUNDS = 7;
const STEPS = 10;
/** Of the raw calls' time. */
const BAR = 0.6;
const signal = new AbortController().signal;

export async function benchTenSteps(): Promise<Figures> {
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
    const of = (value: (round: Round) => number): number => median(rounds.map(value));
    const figures = {
      total: of((round) => round.total),
      raw: median(raw),
      ratio: of((round) => round.total) / median(raw),
      prepare: of((round) => round.prepare),
      firstThree: of((round) => sum(round.steps.slice(0, 3))),
      otherSeven: of((round) => sum(round.steps.slice(3))),
      dispose: of((round) => round.dispose),
    };
    printTable(`ten-steps: ${STEPS} docker steps \`true\`, median of ${ROUNDS} rounds`, [
      { what: 'from claim to end', value: figures.total, unit: 'ms' },
      { what: 'raw: create, start, wait, ten times', value: figures.raw, unit: 'ms' },
      { what: 'of the raw time', value: figures.ratio, unit: '', bar: `<= ${BAR}`, ok: figures.ratio <= BAR },
      { what: '- prepare', value: figures.prepare, unit: 'ms' },
      { what: '- the first three steps (warm)', value: figures.firstThree, unit: 'ms' },
      { what: '- the other seven', value: figures.otherSeven, unit: 'ms' },
      { what: '- dispose', value: figures.dispose, unit: 'ms' },
    ]);
    return figures;
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
