/**
 * Turns the text of a log into lines of HTML, piece by piece as it comes: colours of ANSI sequences become classes,
 * everything else is text. Runs on the server for the first paint and in the browser for what follows.
 */
import { AnsiUp } from 'ansi_up';

/** What to do with the line that is open: replace or extend it by `html`, then perhaps end it. */
export interface PaintedPiece {
  html: string;
  /** A carriage return: the line starts over, as on a terminal. */
  replace: boolean;
  end: boolean;
}

/** Characters of one line that are shown; the rest is in the raw log. */
export const LINE_LIMIT = 10_000;

const CUT_NOTE = '<span class="cut-line"> … the line goes on in the raw log</span>';
/** Window titles and the like: sequences that a terminal swallows and ansi_up would show. Links (8;) are its own. */
const OTHER_OSC = /\x1b\](?!8;)[^\x07\x1b\n]{0,2000}(?:\x07|\x1b\\)/g;
const CONTROL = /[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f]/g;

export interface LogPainter {
  paint(text: string): PaintedPiece[];
}

export function createLogPainter(): LogPainter {
  const ansi = new AnsiUp();
  ansi.use_classes = true;
  // Without a prototype, or a link to `constructor:` would count as allowed.
  ansi.url_allowlist = Object.assign(Object.create(null) as object, { http: 1, https: 1 });
  let shown = 0;
  let heldReturn = false;

  const convert = (text: string, flush: boolean): string => {
    const room = LINE_LIMIT - shown;
    const cut = text.length > room && room >= 0;
    shown = cut ? LINE_LIMIT + 1 : shown + text.length;
    const kept = room < 0 ? '' : text.slice(0, room);
    // A line break makes ansi_up give up on a sequence that is not complete, so that it cannot swallow what follows.
    const html = ansi.ansi_to_html(kept.replace(OTHER_OSC, '') + (flush ? '\n' : '')).replace(/\n/g, '');
    return html.replace(CONTROL, (char) => String.fromCharCode(0x2400 + char.charCodeAt(0))) + (cut ? CUT_NOTE : '');
  };

  const paintLine = (line: string, end: boolean): PaintedPiece => {
    const parts = line.split('\r');
    const last = parts.pop() ?? '';
    for (const [index, part] of parts.entries()) {
      // What was written over is not seen; only the colours that it set live on.
      if (index === 0 || part.includes('\x1b')) convert(part, true);
      shown = 0;
    }
    const html = convert(last, end);
    if (end) shown = 0;
    return { html, replace: parts.length > 0, end };
  };

  return {
    paint(text) {
      const lines = ((heldReturn ? '\r' : '') + text).split('\n');
      const open = lines.pop() ?? '';
      const rest = withoutReturns(open);
      // Whether a return at the very end starts the line over or belongs to a line break, the next piece will tell.
      heldReturn = rest !== open;
      const pieces = lines.map((line) => paintLine(withoutReturns(line), true));
      return rest === '' ? pieces : [...pieces, paintLine(rest, false)];
    },
  };
}

/** A loop, because a pattern would look at a run of returns once for each of them. */
function withoutReturns(line: string): string {
  let end = line.length;
  while (line[end - 1] === '\r') end--;
  return line.slice(0, end);
}

/** Whole lines at once. */
export function paintLines(text: string): string[] {
  const lines: string[] = [];
  let open: string | undefined;
  for (const piece of createLogPainter().paint(text)) {
    open = piece.replace ? piece.html : (open ?? '') + piece.html;
    if (!piece.end) continue;
    lines.push(open);
    open = undefined;
  }
  return open === undefined ? lines : [...lines, open];
}
