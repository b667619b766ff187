/** The logs of the job on the page: paints what arrives, keeps the last lines, says how many there are. */
import { toText } from '../html.ts';
import { cutNote, logSection, partTitle, rawLogUrl } from '../job-parts.ts';
import { createLogPainter, type LogPainter } from '../log-painter.ts';
import { LINE_BUDGET } from '../run-view.ts';
import type { LogData } from './live-stream.ts';

interface PaintedLog {
  details: HTMLDetailsElement;
  box: HTMLElement;
  painter: LogPainter;
  rawUrl: string;
  waiting: string[];
  waitingLength: number;
  /** Number of the first line that is shown, counted from 0. */
  first: number;
  shown: number;
  /** HTML of the last line while it has no end. */
  open: string | undefined;
  /** Whether the end stays in sight; until the reader scrolls up. */
  following: boolean;
}

/** Often enough for the eye; a painting that takes long is not begun again at once. */
const PAINT_MS = 30;
/** Text that waits to be painted; of more than this only the last lines are kept. */
const WAITING_LIMIT = 4_000_000;
/** Lines come in lists of this many: those out of sight are not laid out, and the oldest go as a whole. */
const LIST_LINES = 250;

export function createLogPanel(panel: HTMLElement, target: { run: string; job: string | undefined; attempt: number }) {
  const logs = new Map<string, PaintedLog>();
  let timer: number | undefined;
  let pause = PAINT_MS;

  const find = (data: LogData): PaintedLog => {
    const known = logs.get(data.part);
    if (known) return known;
    const rawUrl = rawLogUrl(target.run, target.job, data.part, target.job === undefined ? undefined : target.attempt);
    const details = findSection(panel, data.part) ?? addSection(panel, data.part, rawUrl);
    const log = takeOver(details, rawUrl, data.offset === 0 ? 0 : Number(details.dataset['first']));
    logs.set(data.part, log);
    return log;
  };

  const paint = () => {
    const start = performance.now();
    for (const log of logs.values()) if (log.waiting.length > 0) paintWaiting(log);
    trim([...logs.values()]);
    // Until the browser has drawn it: that is what takes the time.
    requestAnimationFrame(() => {
      for (const log of logs.values()) if (log.following) log.box.scrollTop = log.box.scrollHeight;
      pause = Math.max(PAINT_MS, 2 * (performance.now() - start));
    });
    timer = undefined;
  };

  return {
    add(data: LogData): void {
      const log = find(data);
      log.waiting.push(data.text);
      log.waitingLength += data.text.length;
      if (log.waitingLength > WAITING_LIMIT) dropWaiting(log);
      timer ??= window.setTimeout(paint, pause);
    },
  };
}

function findSection(panel: HTMLElement, part: string): HTMLDetailsElement | null {
  return panel.querySelector<HTMLDetailsElement>(`details[data-part="${CSS.escape(part)}"]`);
}

function addSection(panel: HTMLElement, part: string, rawUrl: string): HTMLDetailsElement {
  const [title, label, open] = [partTitle(part), `Log of ${part}`, part === 'job'];
  const markup = toText(logSection({ part, title, label, rawUrl, open, lines: [], firstLine: 0, streamLine: 0 }));
  const first = panel.querySelector('details');
  if (part === 'job' && first) first.insertAdjacentHTML('beforebegin', markup);
  else panel.insertAdjacentHTML('beforeend', markup);
  return findSection(panel, part) as HTMLDetailsElement;
}

/** From here on everything comes from the stream, which begins before what the server painted. */
function takeOver(details: HTMLDetailsElement, rawUrl: string, first: number): PaintedLog {
  const box = details.querySelector('.log') as HTMLElement;
  const log: PaintedLog = {
    details,
    box,
    painter: createLogPainter(),
    rawUrl,
    waiting: [],
    waitingLength: 0,
    first,
    shown: 0,
    open: undefined,
    following: true,
  };
  clear(log);
  let last = 0;
  box.addEventListener('scroll', () => {
    const atEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 24;
    if (atEnd) log.following = true;
    else if (box.scrollTop < last) log.following = false;
    last = box.scrollTop;
  });
  return log;
}

function paintWaiting(log: PaintedLog): void {
  dropWaiting(log);
  const lines: string[] = [];
  if (log.open !== undefined) {
    log.box.lastElementChild?.lastElementChild?.remove();
    log.shown--;
  }
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
  append(log, lines);
  showCount(log);
}

function append(log: PaintedLog, lines: string[]): void {
  for (let at = 0; at < lines.length;) {
    let list = log.box.lastElementChild as HTMLOListElement;
    if (list.childElementCount >= LIST_LINES) list = addList(log);
    const some = lines.slice(at, at + LIST_LINES - list.childElementCount);
    list.insertAdjacentHTML('beforeend', some.map((line) => `<li>${line}</li>`).join(''));
    log.shown += some.length;
    at += some.length;
  }
}

function addList(log: PaintedLog): HTMLOListElement {
  const list = document.createElement('ol');
  list.start = log.first + log.shown + 1;
  log.box.append(list);
  return list;
}

function clear(log: PaintedLog): void {
  log.box.replaceChildren();
  log.shown = 0;
  log.open = undefined;
  addList(log);
}

/** Of much waiting text only the last lines will be seen: the others are counted, not painted. */
function dropWaiting(log: PaintedLog): void {
  const text = log.waiting.join('');
  log.waiting = [text];
  let cut = text.length;
  for (let lines = 0; lines <= LINE_BUDGET && cut > 0; lines++) cut = text.lastIndexOf('\n', cut - 1);
  if (cut <= 0) return;
  let skipped = 0;
  for (let at = text.indexOf('\n'); at !== -1 && at <= cut; at = text.indexOf('\n', at + 1)) skipped++;
  log.first += log.shown - (log.open === undefined ? 0 : 1) + skipped;
  log.painter = createLogPainter();
  log.waiting = [text.slice(cut + 1)];
  log.waitingLength = text.length - cut - 1;
  clear(log);
}

/** Takes the oldest lists of the longest logs away while more than the budget stays. */
function trim(logs: PaintedLog[]): void {
  let total = logs.reduce((sum, log) => sum + log.shown, 0);
  while (total > LINE_BUDGET) {
    const longest = logs.reduce((a, b) => (a.shown >= b.shown ? a : b));
    const list = longest.box.firstElementChild;
    const many = list?.childElementCount ?? 0;
    if (!list?.nextElementSibling || total - many < LINE_BUDGET) return;
    list.remove();
    longest.first += many;
    longest.shown -= many;
    total -= many;
    showCount(longest);
  }
}

function showCount(log: PaintedLog): void {
  const note = log.details.querySelector('.cut') as HTMLElement;
  note.hidden = log.first === 0;
  if (log.first > 0) note.innerHTML = toText(cutNote(log.shown, log.first + log.shown, log.rawUrl));
}
