import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { startOwnEngine } from '../test/support/own-engine.ts';
import { isOver, startProduct } from '../test/support/product.ts';
import { type Figures, printTable } from './report.ts';

const BYTES = 1024 ** 3;
const LINE = 'x'.repeat(99);

/** One step that prints 1 GB: to the archive and to one SSE client, while a second client reads nothing. */
export async function benchLog(): Promise<Figures> {
  const executor = process.argv.includes('--docker') ? 'docker' : 'sandbox';
  const engine = executor === 'docker' ? await startOwnEngine() : undefined;
  const product = await startProduct({ IMPGEM_EXECUTOR: executor, ...(engine ? { DOCKER_HOST: engine.host } : {}) });
  try {
    const worker = await product.startWorker();
    const script = `yes ${LINE} | head -c ${BYTES}`;
    const { delivery } = await product.push('gem/log', { '.impgem.yml': `steps: [{ name: big, run: '${script}' }]\n` });
    const begun = await product.runOf(delivery, (run) => isOver(run) || run.jobs[0]?.steps[0]?.state === 'running');
    if (isOver(begun)) throw new Error(`the run is ${begun.state}: ${begun.reason ?? ''}`);
    const startedAt = performance.now();
    const stuck = request(`${product.url}/api/runs/${begun.id}/logs`, { headers: { accept: 'text/event-stream' } });
    stuck.on('response', (response) => response.pause());
    stuck.on('error', () => undefined);
    stuck.end();
    const reader = followBytes(`${product.url}/api/runs/${begun.id}/logs?job=main&step=big`);
    const peaks = watchMemory({ worker: worker.pid, server: product.server.pid });
    const seen = await reader;
    const clientSeconds = (performance.now() - startedAt) / 1000;
    const run = await product.runOf(delivery);
    const step = run.jobs[0]?.steps[0];
    const archiveSeconds = (Date.parse(step?.endedAt ?? '') - Date.parse(step?.startedAt ?? '')) / 1000;
    const peak = peaks.stop();
    stuck.destroy();
    const mb = BYTES / 1e6;
    const figures: Figures = {
      client_mb_per_second: mb / clientSeconds,
      archive_mb_per_second: mb / archiveSeconds,
      worker_rss_mb: peak['worker'] ?? 0,
      server_rss_mb: peak['server'] ?? 0,
      bytes_seen: seen,
    };
    printTable(`log: 1 GB from one ${executor} step`, [
      { what: 'to the archive', value: mb / archiveSeconds, unit: 'MB/s', bar: '>= 60', ok: mb / archiveSeconds >= 60 },
      { what: 'to an SSE client', value: mb / clientSeconds, unit: 'MB/s', bar: '>= 60', ok: mb / clientSeconds >= 60 },
      {
        what: 'worker, peak RSS',
        value: peak['worker'] ?? 0,
        unit: 'MB',
        bar: '<= 250',
        ok: (peak['worker'] ?? 999) <= 250,
      },
      {
        what: 'server, peak RSS',
        value: peak['server'] ?? 0,
        unit: 'MB',
        bar: '<= 250',
        ok: (peak['server'] ?? 999) <= 250,
      },
      { what: 'bytes at the client', value: seen, unit: `of ${BYTES}`, bar: 'all', ok: seen === BYTES },
    ]);
    return figures;
  } finally {
    await product.stop();
    await engine?.stop();
  }
}

/** Bytes of log text that came, until the `end` event. Every event's text is decoded, as a page would. */
function followBytes(url: string): Promise<number> {
  return new Promise((resolve, reject) => {
    let bytes = 0;
    let rest = '';
    const sent = request(url, { headers: { accept: 'text/event-stream' } }, (response) => {
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        const parts = (rest + chunk).split('\n\n');
        rest = parts.pop() ?? '';
        for (const part of parts) {
          const data = /^data: (.*)$/m.exec(part)?.[1];
          if (part.includes('event: log') && data !== undefined)
            bytes += (JSON.parse(data) as { text: string }).text.length;
          if (part.includes('event: end')) resolve(bytes);
        }
      });
      response.on('end', () => resolve(bytes));
    });
    sent.on('error', reject);
    sent.end();
  });
}

function watchMemory(pids: Record<string, number>): { stop(): Record<string, number> } {
  const peak: Record<string, number> = {};
  const look = async (): Promise<void> => {
    for (const [name, pid] of Object.entries(pids)) {
      const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
      peak[name] = Math.max(peak[name] ?? 0, Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024);
    }
  };
  const timer = setInterval(() => void look(), 100);
  return {
    stop() {
      clearInterval(timer);
      return peak;
    },
  };
}
