import { startOwnEngine } from '../test/support/own-engine.ts';
import { isOver, startProduct } from '../test/support/product.ts';
import { type Figures, median, printTable, quantile } from './report.ts';

const ROUNDS = 10;
const BAR_MS = 1000;
/** So long a chatty step prints before it is cancelled: its log is behind by then. */
const AHEAD_MS = 1500;
/** A step that is told to end says when, in ms since 1970. */
const TRAP = `trap 'echo "told $(date +%s%3N)"; exit 1' TERM`;

const STEPS: Record<string, string> = {
  quiet: 'while :; do sleep 0.02; done',
  chatty: `while :; do printf '%s\\n' "$LINES_AHEAD"; done`,
};

/** From sending a cancel to the moment the step hears of it (its TERM), for a quiet step and for one that prints all it can. */
export async function benchCancel(): Promise<Figures> {
  const executor = process.argv.includes('--docker') ? 'docker' : 'sandbox';
  const engine = executor === 'docker' ? await startOwnEngine() : undefined;
  const product = await startProduct({ IMPGEM_EXECUTOR: executor, ...(engine ? { DOCKER_HOST: engine.host } : {}) });
  try {
    await product.startWorker();
    const figures: Figures = {};
    for (const [kind, loop] of Object.entries(STEPS)) {
      const script = `${TRAP}\nLINES_AHEAD=$(printf '${'x'.repeat(99)}%.0s\\n' {1..500})\necho begun\n${loop}\n`;
      const pipeline = JSON.stringify({ steps: [{ name: 'step', run: script }] });
      const heard: number[] = [];
      const ended: number[] = [];
      const sizes: number[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        const { delivery } = await product.push(`gem/${kind}`, { '.impgem.yml': pipeline, round: String(round) });
        const { id } = await product.runOf(
          delivery,
          (run) => isOver(run) || run.jobs[0]?.steps[0]?.state === 'running',
        );
        await new Promise((wake) => setTimeout(wake, AHEAD_MS));
        const sentAt = Date.now();
        await product.api(`/api/runs/${id}/cancel`, { method: 'POST' });
        const run = await product.runOf(delivery);
        if (run.state !== 'cancelled') throw new Error(`the run is ${run.state}: ${run.reason ?? ''}`);
        const log = await (await fetch(`${product.url}/api/runs/${id}/logs?job=main&step=step`)).text();
        sizes.push(log.length / 1e6);
        heard.push(Number(/^told (\d+)$/m.exec(log.slice(-1000))?.[1]) - sentAt);
        ended.push(Date.parse(run.endedAt ?? '') - sentAt);
      }
      const worst = quantile(heard, 0.95);
      printTable(`cancel with ${executor}: a ${kind} step`, [
        { what: 'until the step hears of it, median', value: median(heard), unit: 'ms' },
        {
          what: 'until the step hears of it, p95',
          value: worst,
          unit: 'ms',
          bar: `<= ${BAR_MS} ms`,
          ok: worst <= BAR_MS,
        },
        { what: 'its log by then, median', value: median(sizes), unit: 'MB' },
        { what: 'until the run is over, its log whole, median', value: median(ended), unit: 'ms' },
      ]);
      figures[`${kind}_heard_median_ms`] = median(heard);
      figures[`${kind}_heard_p95_ms`] = worst;
      figures[`${kind}_over_median_ms`] = median(ended);
    }
    return figures;
  } finally {
    await product.stop();
    await engine?.stop();
  }
}
