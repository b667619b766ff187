/** What the page of a run shows: plain data, collected by the server. */
import type { Job, Run } from '../runs/run.ts';

export interface RunView {
  run: Run;
  /** The job whose steps are shown; absent in a run that has no jobs. */
  job?: Job;
  /** Attempt of that job that is shown. */
  attempt: number;
  logs: LogView[];
  artifacts: ArtifactView[];
  /** Where the live stream goes on from: the beginning of the lines that the page may show. */
  position: string;
}

export interface LogView {
  part: string;
  /** Lines that the page may show begin with this one, counted from 0. */
  firstLine: number;
  lines: number;
  /** The last of them as text, for the first paint. */
  tail: string;
  /** Line number of the first line of `tail`. */
  tailLine: number;
}

export interface ArtifactView {
  job: string;
  path: string;
  size: number;
}

/** Lines of all logs together that a page keeps. */
export const LINE_BUDGET = 5_000;

/** How many lines each log may show: small ones all, the large ones share what is left. */
export function shareLines(counts: number[], budget: number): number[] {
  const shares = counts.map(() => 0);
  let left = budget;
  const order = counts.map((count, index) => ({ count, index })).sort((a, b) => a.count - b.count);
  for (const [done, { count, index }] of order.entries()) {
    const share = Math.min(count, Math.floor(left / (order.length - done)));
    shares[index] = share;
    left -= share;
  }
  return shares;
}
