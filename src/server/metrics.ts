/**
 * Counters, histograms and gauges in the Prometheus text format. Our own few lines: the usual library costs every idle
 * server memory for what is a map of numbers and a loop that prints it.
 */
export interface Metrics {
  /** Adds to a counter. */
  count(name: CounterName, labels?: Labels, by?: number): void;
  /** Seconds into a histogram. */
  observe(name: HistogramName, seconds: number, labels?: Labels): void;
  /** Prometheus text, with gauges as they are now. */
  render(gauges: Gauge[]): string;
}

export type Labels = Record<string, string>;

export interface Gauge {
  name: string;
  help: string;
  samples: { labels: Labels; value: number }[];
}

const COUNTERS = {
  impgem_intake_total: 'Webhook requests by forge and result.',
  impgem_deliveries_total: 'Deliveries by what became of them.',
  impgem_runs_total: 'Runs that ended, by final state.',
  impgem_jobs_total: 'Jobs that ended, by final state.',
  impgem_job_retries_total: 'Attempts of jobs after their first.',
  impgem_statuses_total: 'Commit statuses by forge and outcome of the request.',
  impgem_repairs_total: 'What was left by a crash and mended, by kind.',
  impgem_clock_jumps_total: "Times that the server's clock or Redis's was set, by whose.",
  impgem_log_bytes_total: 'Bytes of log of runs that ended.',
  impgem_removed_total: 'Runs past their limit, and logs and lists of artifacts that belonged to no run, removed.',
  impgem_freed_bytes_total: 'Bytes of artifacts and caches that nothing named any more, removed.',
  impgem_redelivered_total: 'Deliveries that the forge was asked to send again, by forge.',
  impgem_catch_up_total: 'Pushes found whose delivery never came.',
} as const;
const HISTOGRAMS = {
  impgem_run_seconds: 'From creation of a run to its end, by final state.',
  impgem_step_seconds: 'Duration of steps, by final state.',
  impgem_job_wait_seconds: 'From a job being ready to a worker taking it, of runs that ended.',
  impgem_plan_seconds: 'From a delivery being taken up to its runs.',
} as const;
export type CounterName = keyof typeof COUNTERS;
export type HistogramName = keyof typeof HISTOGRAMS;

/** Upper bounds in seconds. */
const BUCKETS = [0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200];

interface Distribution {
  buckets: number[];
  sum: number;
  count: number;
}

export function createMetrics(): Metrics {
  const counters = new Map<CounterName, Map<string, number>>();
  const histograms = new Map<HistogramName, Map<string, Distribution>>();
  return {
    count(name, labels = {}, by = 1) {
      const series = entry(counters, name, () => new Map<string, number>());
      const key = labelText(labels);
      series.set(key, (series.get(key) ?? 0) + by);
    },
    observe(name, seconds, labels = {}) {
      const series = entry(histograms, name, () => new Map<string, Distribution>());
      const one = entry(series, labelText(labels), () => ({ buckets: BUCKETS.map(() => 0), sum: 0, count: 0 }));
      for (const [index, bound] of BUCKETS.entries())
        if (seconds <= bound) one.buckets[index] = (one.buckets[index] ?? 0) + 1;
      one.sum += seconds;
      one.count++;
    },
    render(gauges) {
      const lines: string[] = [];
      const head = (name: string, help: string, type: string): void =>
        void lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
      for (const [name, help] of Object.entries(COUNTERS) as [CounterName, string][]) {
        head(name, help, 'counter');
        for (const [labels, value] of counters.get(name) ?? []) lines.push(`${name}${braces(labels)} ${value}`);
      }
      for (const [name, help] of Object.entries(HISTOGRAMS) as [HistogramName, string][]) {
        head(name, help, 'histogram');
        for (const [labels, one] of histograms.get(name) ?? []) {
          const join = labels === '' ? '' : `${labels},`;
          for (const [index, bound] of BUCKETS.entries())
            lines.push(`${name}_bucket{${join}le="${bound}"} ${one.buckets[index] ?? 0}`);
          lines.push(
            `${name}_bucket{${join}le="+Inf"} ${one.count}`,
            `${name}_sum${braces(labels)} ${one.sum}`,
            `${name}_count${braces(labels)} ${one.count}`,
          );
        }
      }
      for (const { name, help, samples } of gauges) {
        head(name, help, 'gauge');
        for (const { labels, value } of samples) lines.push(`${name}${braces(labelText(labels))} ${value}`);
      }
      return `${lines.join('\n')}\n`;
    },
  };
}

const braces = (labels: string): string => (labels === '' ? '' : `{${labels}}`);

function labelText(labels: Labels): string {
  return Object.entries(labels)
    .map(
      ([name, value]) => `${name}="${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`,
    )
    .join(',');
}

function entry<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}
