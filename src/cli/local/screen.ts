/** Lines that scroll, and on a terminal a block below them that is redrawn in place. */
import { hasColor } from '../has-color.ts';

export interface ScreenStream {
  isTTY?: boolean;
  columns?: number;
  /** `taken` is called when the text has left this process, or never will. */
  write(text: string, taken: (error?: Error | null) => void): unknown;
}

export interface Screen {
  readonly live: boolean;
  /** Nobody reads any more. */
  readonly closed: boolean;
  paint: (text: string, colour: Colour) => string;
  /** One write. Settles when the reader has taken it, or is gone; who does not wait for it fills the memory. */
  lines: (lines: string[]) => Promise<void>;
  /** Replaces the block, once what is under way is taken. Nothing off a terminal. */
  block: (lines: string[]) => void;
}

export type Colour = 'red' | 'green' | 'yellow' | 'blue' | 'dim';
const CODES: Record<Colour, number> = { red: 31, green: 32, yellow: 33, blue: 36, dim: 2 };

export function createScreen(stream: ScreenStream, env: NodeJS.ProcessEnv = process.env): Screen {
  const live = stream.isTTY === true && env['TERM'] !== 'dumb';
  const colours = hasColor(stream, env);
  let wanted: string[] = [];
  let drawn: string[] = [];
  let underWay = 0;
  let closed = false;
  const clear = (): string => (drawn.length === 0 ? '' : `\u001b[${drawn.length}A\r\u001b[J`);
  // Some terminals say 0.
  const width = (): number => (stream.columns !== undefined && stream.columns > 0 ? stream.columns : 80);
  const write = (lines: string[], onTaken?: () => void): void => {
    const before = clear();
    drawn = wanted;
    const rows = drawn.map((line) => fit(line, width()));
    underWay++;
    stream.write(before + [...lines, ...rows].map((line) => `${line}\n`).join(''), (error) => {
      underWay--;
      if (error) closed = true;
      onTaken?.();
      redraw();
    });
  };
  const redraw = (): void => {
    if (underWay === 0 && drawn !== wanted) write([]);
  };
  return {
    live,
    get closed() {
      return closed;
    },
    paint: (text, colour) => (colours ? `\u001b[${CODES[colour]}m${text}\u001b[0m` : text),
    lines: (lines) => new Promise((resolve) => write(lines, resolve)),
    block: (lines) => {
      if (!live) return;
      wanted = lines;
      redraw();
    },
  };
}

const SGR = /\u001b\[[\d;]*m/g;

/** As much as fits into one row, colours not counted: a row that wraps would break the redrawing. */
function fit(line: string, columns: number): string {
  if (line.replace(SGR, '').length < columns) return line;
  return `${line.replace(SGR, '').slice(0, columns - 2)}…`;
}

/** A line of a step's output for a terminal: colours stay, what moves the cursor or rings goes. */
export function showableLine(line: string): string {
  const visible = line.slice(line.replace(/\r+$/, '').lastIndexOf('\r') + 1).replace(/\r+$/, '');
  const safe = visible
    .replace(/\u001b\[[\d;]*m|\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|.?)/g, (sequence) =>
      /^\u001b\[[\d;]*m$/.test(sequence) ? sequence : '',
    )
    .replace(/[\u0000-\u0008\u000b-\u001a\u001c-\u001f\u007f\u0080-\u009f]/g, '');
  return safe.includes('\u001b') ? `${safe}\u001b[0m` : safe;
}
