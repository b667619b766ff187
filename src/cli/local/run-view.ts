/** What a person sees of a local run: every line of output with the step it is of, and on a terminal how each job stands. */
import { StringDecoder } from 'node:string_decoder';
import { messageOf } from '../../errors.ts';
import type { LogStore } from '../../logs/log-store.ts';
import { isFinal, type Job, type LogKey, type RunRecord, type State, type Step } from '../../runs/run.ts';
import { formatDuration } from '../../worker/stop.ts';
import { showableLine, type Colour, type Screen } from './screen.ts';

/** Takes news without waiting, and shows it in order as fast as the screen takes it: what is not shown yet is on the disk. */
export interface RunView {
  change(record: RunRecord): void;
  /** So many bytes of this log are stored now. */
  output(key: LogKey, length: number): void;
  /** No more of this log will come. */
  outputEnd(key: LogKey): void;
  /** Takes the block of a terminal away. Settles when everything is shown, or nobody reads any more. */
  end(): Promise<void>;
}

const SIGNS: Record<State, [string, Colour]> = {
  pending: ['○', 'dim'],
  running: ['●', 'blue'],
  succeeded: ['✔', 'green'],
  failed: ['✖', 'red'],
  errored: ['✖', 'red'],
  cancelled: ['⊘', 'yellow'],
  skipped: ['○', 'dim'],
};
const MAX_ROWS = 12;
const MAX_LINE = 16_384;
const TICK_MS = 1000;
/** Bytes of a log that are shown at once. */
const CHUNK = 64 * 1024;

/** A log that is to be shown up to there. */
interface Due {
  key: LogKey;
  length: number;
  ended: boolean;
}

export function createRunView(screen: Screen, logs: Pick<LogStore, 'read'>): RunView {
  let record: RunRecord | undefined;
  /** Lines, or logs by id. Every log stands once between two lines of news: what waits does not grow with the output. */
  const queue: (string[] | Map<string, Due>)[] = [];
  /** Output that came before the news that its step runs: the news waits until the log of the step before is safe. */
  const early = new Map<string, Due>();
  const open = new Map<string, { shown: number; splitter: LineSplitter }>();
  let busy = false;
  let allShown = Promise.resolve();
  const tick = screen.live ? setInterval(() => drawBlock(), TICK_MS) : undefined;
  tick?.unref();
  const { paint } = screen;

  const say = (job: string, state: State, what: string, change: { reason?: string; took?: string }): void => {
    const [sign, colour] = SIGNS[state];
    const more = [change.reason, change.took].filter((text) => text !== undefined).join(', ');
    const line = `${paint(sign, colour)} ${nameOf(job, what)} ${paint(state, colour)}${more === '' ? '' : ` (${more})`}`;
    const last = queue.at(-1);
    if (Array.isArray(last)) last.push(line);
    else queue.push([line]);
  };
  const drawBlock = (): void => screen.block(record && !isFinal(record.state) ? rowsOf(record, screen) : []);
  const stepOf = (key: LogKey): Step | undefined =>
    record?.jobs.find((one) => one.id === key.job)?.steps[Number(key.part)];

  return {
    change: (next) => {
      const before = record;
      record = next;
      for (const job of next.jobs) {
        const known = before?.jobs.find((one) => one.id === job.id);
        for (const [index, step] of job.steps.entries()) {
          if (step.state === 'pending' || step.state === known?.steps[index]?.state) continue;
          say(job.name, step.state, step.name, explain(step));
          const id = idOf({ job: job.id, attempt: job.attempt, part: String(index) });
          const waiting = early.get(id);
          early.delete(id);
          if (waiting) addTo(lastLogs(), waiting);
        }
        if (job.state !== known?.state && isFinal(job.state)) say(job.name, job.state, '', explain(job));
      }
      wake();
      drawBlock();
    },
    output: (key, length) => due({ key, length, ended: false }),
    outputEnd: (key) => due({ key, length: 0, ended: true }),
    end: async () => {
      clearInterval(tick);
      await allShown;
      screen.block([]);
    },
  };

  function due(more: Due): void {
    addTo(stepOf(more.key)?.state === 'pending' ? early : lastLogs(), more);
    wake();
  }

  function lastLogs(): Map<string, Due> {
    const last = queue.at(-1);
    if (last !== undefined && !Array.isArray(last)) return last;
    const next = new Map<string, Due>();
    queue.push(next);
    return next;
  }

  function wake(): void {
    if (busy) return;
    busy = true;
    allShown = showAll();
  }

  async function showAll(): Promise<void> {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      if (Array.isArray(next)) await screen.lines(next);
      else for (const one of next.values()) await showLog(one);
    }
    busy = false;
  }

  async function showLog({ key, length, ended }: Due): Promise<void> {
    const id = idOf(key);
    const log = open.get(id) ?? { shown: 0, splitter: createLineSplitter() };
    open.set(id, log);
    const part = stepOf(key)?.name ?? (key.part === 'job' ? '' : key.part.replace(/^service-/, 'service '));
    const name = nameOf(record?.jobs.find((one) => one.id === key.job)?.name ?? key.job, part);
    const show = async (lines: string[]): Promise<void> => {
      if (lines.length > 0)
        await screen.lines(lines.map((line) => `${paint(`${name} │`, 'dim')} ${showableLine(line)}`));
    };
    try {
      for await (const bytes of logs.read(key, log.shown, length, CHUNK)) {
        if (screen.closed) break;
        log.shown += bytes.length;
        await show(log.splitter.push(bytes));
      }
    } catch (error) {
      await screen.lines([`${paint('✖', 'red')} ${name}: ${messageOf(error)}`]);
    }
    if (!ended) return;
    await show(log.splitter.end());
    open.delete(id);
  }
}

function addTo(logs: Map<string, Due>, { key, length, ended }: Due): void {
  const id = idOf(key);
  const known = logs.get(id);
  logs.set(id, {
    key,
    length: Math.max(length, known?.length ?? 0),
    ended: ended || known?.ended === true,
  });
}

function idOf({ job, attempt, part }: Pick<LogKey, 'job' | 'attempt' | 'part'>): string {
  return `${job} ${attempt} ${part}`;
}

function nameOf(job: string, step: string): string {
  return showableLine(step === '' ? job : `${job} › ${step}`);
}

function explain(of: Job | Step): { reason?: string; took?: string } {
  const code = 'exitCode' in of && of.state === 'failed' ? `exit code ${of.exitCode}` : undefined;
  const reason = of.reason ?? code;
  const took = isFinal(of.state) ? durationOf(of) : undefined;
  return { ...(reason === undefined ? {} : { reason: showableLine(reason) }), ...(took === undefined ? {} : { took }) };
}

function durationOf({ startedAt, endedAt }: Pick<Step, 'startedAt' | 'endedAt'>): string | undefined {
  if (startedAt === undefined) return undefined;
  const ms = Date.parse(endedAt ?? new Date().toISOString()) - Date.parse(startedAt);
  return ms < 10_000 ? `${(ms / 1000).toFixed(1)}s` : formatDuration(Math.round(ms / 1000) * 1000);
}

/** Jobs that run or wait first; what does not fit is counted. */
function rowsOf(record: RunRecord, { paint }: Screen): string[] {
  const order: State[] = ['running', 'pending'];
  const open = record.jobs.filter((job) => order.includes(job.state));
  const sorted = open.sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state));
  const rows = sorted.slice(0, MAX_ROWS).map((job) => {
    const [sign, colour] = SIGNS[job.state];
    const steps = job.steps.filter((step) => step.state === 'running').map((step) => step.name);
    const what = job.state === 'running' ? steps.join(', ') : `waits for ${job.waitingFor ?? 'its turn'}`;
    return `${paint(sign, colour)} ${showableLine(job.name)}  ${paint(`${showableLine(what)}  ${durationOf(job) ?? ''}`.trimEnd(), 'dim')}`;
  });
  return open.length > rows.length ? [...rows, `  and ${open.length - rows.length} more`] : rows;
}

interface LineSplitter {
  push(bytes: Buffer): string[];
  end(): string[];
}

/** A line that never ends is shown in pieces. */
function createLineSplitter(): LineSplitter {
  const decoder = new StringDecoder('utf8');
  let rest = '';
  return {
    push: (bytes) => {
      const lines = (rest + decoder.write(bytes)).split('\n');
      rest = lines.pop() ?? '';
      if (rest.length <= MAX_LINE) return lines;
      lines.push(rest);
      rest = '';
      return lines;
    },
    end: () => {
      const last = rest + decoder.end();
      rest = '';
      return last === '' ? [] : [last];
    },
  };
}
