/** Small helpers that every benchmark shares: medians, a table, the load generator. */
import { Agent, request } from 'node:http';

export type Figures = Record<string, number>;

export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

export interface Row {
  what: string;
  value: number;
  unit: string;
  /** What the figure must reach, in words. */
  bar?: string;
  ok?: boolean;
}

let missed = 0;

/** Rows of all tables so far that did not reach their bar. */
export const countMissed = (): number => missed;

/** Prints to stderr, so that stdout stays free for JSON. */
export function printTable(title: string, rows: readonly Row[]): void {
  missed += rows.filter(({ ok }) => ok === false).length;
  const width = Math.max(...rows.map((row) => row.what.length));
  process.stderr.write(`\n${title}\n`);
  for (const { what, value, unit, bar, ok } of rows) {
    const figure = `${value.toFixed(Math.abs(value) < 10 ? 2 : 0)} ${unit}`.padEnd(16);
    const verdict = bar === undefined ? '' : `${ok === true ? 'ok  ' : 'MISS'} ${bar}`;
    process.stderr.write(`  ${what.padEnd(width)}  ${figure}${verdict}\n`);
  }
}

export interface LoadResult {
  /** Answers by status code. */
  statuses: Map<number, number>;
  /** ms of each request. */
  times: number[];
  seconds: number;
}

/** Sends `count` requests over a fixed number of kept connections, each as soon as the one before is answered. */
export async function load(
  count: number,
  connections: number,
  make: (index: number) => { url: string; headers: Record<string, string>; body: string | Buffer },
): Promise<LoadResult> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const statuses = new Map<number, number>();
  const times: number[] = [];
  let next = 0;
  const startedAt = performance.now();
  const lane = async (): Promise<void> => {
    while (next < count) {
      const { url, headers, body } = make(next++);
      const sentAt = performance.now();
      const status = await post(agent, url, headers, body);
      times.push(performance.now() - sentAt);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: connections }, lane));
  const seconds = (performance.now() - startedAt) / 1000;
  agent.destroy();
  return { statuses, times, seconds };
}

function post(agent: Agent, url: string, headers: Record<string, string>, body: string | Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = request(
      url,
      { method: 'POST', agent, headers: { ...headers, 'content-length': Buffer.byteLength(body) } },
      (response) => {
        response.resume();
        response.on('end', () => resolve(response.statusCode ?? 0));
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}
