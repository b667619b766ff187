/** The logs of the job on the page: paints what arrives, keeps the last lines, says how many there are. */
import { toText } from '../html.ts';
import { cutNote, logSection, partTitle, rawLogUrl } from '../job-parts.ts';
import { createLogPainter, type LogPainter } from '../log-painter.ts';
import { LINE_BUDGET } from '../run-view.ts';
import type { LogData } from './live-stream.ts';

interface PaintedLog {
  details: HTMLDetailsElement;
  box: HTMLElement;
  list: HTMLOListElement;
  painter: LogPainter;
  rawUrl: string;
  waiting: string[];
  waitingLength: number;
  /** Number of the first line in the list, counted from 0. */
  first: number;
  /** HTML of the last line while it has no end. */
  open: string | undefined;
}

/** Often enough for the eye, seldom enough for a fast log. */
const PAINT_MS = 30;
/** Text that waits to be painted; of more than this only the last lines are kept. */
const WAITING_LIMIT = 4_000_000;
/** Lines are taken away in batches: each time, the list counts anew. */
const SLACK = 250;

export function createLogPanel(panel: HTMLElement, target: { run: string; job: string | undefined; attempt: number }) {
  const logs = new Map<string, PaintedLog>();
  let timer: number | undefined;

  const find = (data: LogData): PaintedLog => {
    const known = logs.get(data.part);
    if (known) return known;
    const rawUrl = rawLogUrl(target.run, target.job, data.part, target.job === undefined ? undefined : target.attempt);
    const details = findSection(panel, data.part) ?? addSection(panel, data.part, rawUrl);
    const list = details.querySelector('ol') as HTMLOListElement;
    // From here on everything comes from the stream, which begins before what the server painted.
    list.replaceChildren();
    const first = data.offset === 0 ? 0 : Number(details.dataset['first']);
    const box = details.querySelector('.log') as HTMLElement;
    const log = {
      details,
      box,
      list,
      painter: createLogPainter(),
      rawUrl,
      waiting: [],
      waitingLength: 0,
      first,
      open: undefined,
    };
    logs.set(data.part, log);
    return log;
  };

  const paint = () => {
    timer = undefined;
    for (const log of logs.values()) if (log.waiting.length > 0) paintWaiting(log);
    trim([...logs.values()]);
  };

  return {
    add(data: LogData): void {
      const log = find(data);
      log.waiting.push(data.text);
      log.waitingLength += data.text.length;
      if (log.waitingLength > WAITING_LIMIT) dropWaiting(log);
      timer ??= window.setTimeout(paint, PAINT_MS);
    },
  };
}

function findSection(panel: HTMLElement, part: string): HTMLDetailsElement | null {
  return panel.querySelector<HTMLDetailsElement>(`details[data-part="${CSS.escape(part)}"]`);
}

function addSection(panel: HTMLElement, part: string, rawUrl: string): HTMLDetailsElement {
  const title = partTitle(part);
  const markup = toText(
    logSection({
      part,
      title,
      label: `Log of ${part}`,
      rawUrl,
      open: part === 'job',
      lines: [],
      firstLine: 0,
      streamLine: 0,
    }),
  );
  const first = panel.querySelector('details');
  if (part === 'job' && first) first.insertAdjacentHTML('beforebegin', markup);
  else panel.insertAdjacentHTML('beforeend', markup);
  return findSection(panel, part) as HTMLDetailsElement;
}

function paintWaiting(log: PaintedLog): void {
  dropWaiting(log);
  const follow = log.box.scrollTop + log.box.clientHeight >= log.box.scrollHeight - 24;
  const lines: string[] = [];
  if (log.open !== undefined) log.list.lastElementChild?.remove();
  let line = log.open;
  for (const piece of log.painter.paint(log.waiting.join(''))) {
    line = piece.replace ? piece.html : (line ?? '') + piece.html;
    if (!piece.end) continue;
    lines.push(line);
    line = undefined;
  }
  log.open = line;
  if (line !== undefined) lines.push(line);
  log.waiting = [];
  log.waitingLength = 0;
  log.list.insertAdjacentHTML('beforeend', lines.map((each) => `<li>${each}</li>`).join(''));
  showCount(log);
  if (follow) log.box.scrollTop = log.box.scrollHeight;
}

/** Of much waiting text only the last lines will be seen: the others are counted, not painted. */
function dropWaiting(log: PaintedLog): void {
  const text = log.waiting.join('');
  let cut = text.length;
  for (let lines = 0; lines <= LINE_BUDGET && cut >= 0; lines++) cut = text.lastIndexOf('\n', cut - 1);
  if (cut <= 0) {
    log.waiting = [text];
    return;
  }
  let skipped = 0;
  for (let at = text.indexOf('\n'); at !== -1 && at <= cut; at = text.indexOf('\n', at + 1)) skipped++;
  log.first += log.list.childElementCount - (log.open === undefined ? 0 : 1) + skipped;
  log.open = undefined;
  log.painter = createLogPainter();
  log.list.replaceChildren();
  log.waiting = [text.slice(cut + 1)];
  log.waitingLength = log.waiting[0]?.length ?? 0;
}

/** Takes the oldest lines of the longest logs away until all together are within the budget. */
function trim(logs: PaintedLog[]): void {
  for (;;) {
    const total = logs.reduce((sum, log) => sum + log.list.childElementCount, 0);
    if (total <= LINE_BUDGET + SLACK) return;
    const longest = logs.reduce((a, b) => (a.list.childElementCount >= b.list.childElementCount ? a : b));
    const many = Math.min(total - LINE_BUDGET, longest.list.childElementCount - 1);
    if (many <= 0) return;
    const range = document.createRange();
    range.setStart(longest.list, 0);
    range.setEnd(longest.list, many);
    range.deleteContents();
    longest.first += many;
    showCount(longest);
  }
}

function showCount(log: PaintedLog): void {
  const shown = log.list.childElementCount;
  if (log.list.start !== log.first + 1) log.list.start = log.first + 1;
  const note = log.details.querySelector('.cut') as HTMLElement;
  note.hidden = log.first === 0;
  if (log.first > 0) note.innerHTML = toText(cutNote(shown, log.first + shown, log.rawUrl));
}
