/**
 * Between the end of a step's last command and the first byte of the next step's output: 20 steps of 300 ms, each in a
 * fresh container of the docker executor. Beside it: a bare container started ahead, from its script to its first byte.
 */
import { dockerTask, openDockerBench } from './docker-bench.ts';
import { type Figures, median, printTable, quantile } from './report.ts';

const STEPS = 20;
/** ms. */
const BAR = { median: 8, p95: 25 };
/** Its last command's end is the time that it prints last. */
const SCRIPT = 'echo first; sleep 0.3; date +%s%N';
const signal = new AbortController().signal;

export async function benchGap(): Promise<Figures> {
  const bench = await openDockerBench();
  try {
    const raw: number[] = [];
    for (let turn = 0; turn < 7; turn += 1) raw.push(await bench.raw.firstByte());
    await bench.warm();
    const gaps = await measure(await bench.job());
    const figures = { median: median(gaps), p95: quantile(gaps, 0.95), max: Math.max(...gaps), raw: median(raw) };
    printTable(`gap: ${STEPS} docker steps, from one's last command to the next one's first byte`, [
      { what: 'median', value: figures.median, unit: 'ms', bar: `<= ${BAR.median}`, ok: figures.median <= BAR.median },
      { what: 'p95', value: figures.p95, unit: 'ms', bar: `<= ${BAR.p95}`, ok: figures.p95 <= BAR.p95 },
      { what: 'longest', value: figures.max, unit: 'ms' },
      { what: 'raw: a container started ahead, script to first byte', value: figures.raw, unit: 'ms' },
    ]);
    return figures;
  } finally {
    await bench.close();
  }
}

async function measure(
  job: Awaited<ReturnType<Awaited<ReturnType<typeof openDockerBench>>['job']>>,
): Promise<number[]> {
  const tasks = Array.from({ length: STEPS }, (_, index) => dockerTask(String(index), SCRIPT));
  const gaps: number[] = [];
  let endedAt: number | undefined;
  for (const [index, task] of tasks.entries()) {
    job.expect(tasks.slice(index + 1));
    let firstAt: number | undefined;
    let text = '';
    const write = (bytes: Buffer): Promise<void> => {
      firstAt ??= performance.timeOrigin + performance.now();
      text += bytes.toString('latin1');
      return Promise.resolve();
    };
    await job.start(task, { write }, { signal });
    if (endedAt !== undefined && firstAt !== undefined) gaps.push(firstAt - endedAt);
    endedAt = Number(text.trim().split('\n').at(-1)) / 1e6;
  }
  await job.dispose();
  return gaps;
}
