/** What a person sees of a local run: every line of output with the step it is of, and on a terminal how each job stands. */
import { StringDecoder } from 'node:string_decoder';
import { isFinal, type Job, type LogKey, type RunRecord, type State, type Step } from '../../runs/run.ts';
import { formatDuration } from '../../worker/stop.ts';
import { showableLine, type Colour, type Screen } from './screen.ts';

export interface RunView {
  change(record: RunRecord): void;
  output(key: LogKey, bytes: Buffer): void;
  /** No more of this log will come. */
  outputEnd(key: LogKey): void;
  /** Takes the block of a terminal away. */
  end(): void;
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

export function createRunView(screen: Screen): RunView {
  let record: RunRecord | undefined;
  const splitters = new Map<string, LineSplitter>();
  /** Output that came before the news that its step runs: the news waits until the log of the step before is safe. */
  const early = new Map<string, string[]>();
  const tick = screen.live ? setInterval(() => drawBlock(), TICK_MS) : undefined;
  tick?.unref();
  const { paint } = screen;

  const say = (job: string, state: State, what: string, change: { reason?: string; took?: string }): void => {
    const [sign, colour] = SIGNS[state];
    const more = [change.reason, change.took].filter((text) => text !== undefined).join(', ');
    screen.line(
      `${paint(sign, colour)} ${nameOf(job, what)} ${paint(state, colour)}${more === '' ? '' : ` (${more})`}`,
    );
  };
  const drawBlock = (): void => screen.block(record && !isFinal(record.state) ? rowsOf(record, screen) : []);

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
          for (const line of early.get(id) ?? []) screen.line(line);
          early.delete(id);
        }
        if (job.state !== known?.state && isFinal(job.state)) say(job.name, job.state, '', explain(job));
      }
      drawBlock();
    },
    output: (key, bytes) => {
      const id = idOf(key);
      const splitter = splitters.get(id) ?? createLineSplitter();
      splitters.set(id, splitter);
      for (const line of splitter.push(bytes)) showLine(key, line);
    },
    outputEnd: (key) => {
      const id = idOf(key);
      for (const line of splitters.get(id)?.end() ?? []) showLine(key, line);
      splitters.delete(id);
    },
    end: () => {
      clearInterval(tick);
      screen.block([]);
    },
  };

  function showLine(key: LogKey, line: string): void {
    const job = record?.jobs.find((one) => one.id === key.job);
    const step = job?.steps[Number(key.part)];
    const part = step?.name ?? (key.part === 'job' ? '' : key.part.replace(/^service-/, 'service '));
    const shown = `${paint(`${nameOf(job?.name ?? key.job, part)} │`, 'dim')} ${showableLine(line)}`;
    if (step?.state !== 'pending') screen.line(shown);
    else {
      const waiting = early.get(idOf(key));
      if (waiting) waiting.push(shown);
      else early.set(idOf(key), [shown]);
    }
  }
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
