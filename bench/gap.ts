/**
 * Between the end of a step's last command and the first byte of the next step's output: 20 steps of 300 ms, each in a
 * fresh container of the docker executor. Beside it: a bare container started ahead, from its script to its first byte.
 */
import { dockerTask, openDockerBench, quantile } from './docker-bench.ts';

const STEPS = 20;
/** Its last command's end is the time that it prints last. */
const SCRIPT = 'echo first; sleep 0.3; date +%s%N';
const signal = new AbortController().signal;

export async function benchGap(): Promise<Record<string, number>> {
  const bench = await openDockerBench();
  try {
    const raw: number[] = [];
    for (let turn = 0; turn < 7; turn += 1) raw.push(await bench.raw.firstByte());
    await bench.warm();
    const gaps = await measure(await bench.job());
    return {
      gapMedianMs: quantile(gaps, 0.5),
      gapP95Ms: quantile(gaps, 0.95),
      gapMaxMs: Math.max(...gaps),
      rawFirstByteMs: quantile(raw, 0.5),
      barMedianMs: 8,
      barP95Ms: 25,
    };
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
