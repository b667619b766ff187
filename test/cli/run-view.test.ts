import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createRunView } from '../../src/cli/local/run-view.ts';
import { createScreen, showableLine, type Screen } from '../../src/cli/local/screen.ts';
import { createLogStore } from '../../src/logs/log-store.ts';
import type { LogKey, RunRecord, Step } from '../../src/runs/run.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const record = (steps: Step[], state: RunRecord['state'] = 'running'): RunRecord => ({
  id: 'r',
  number: 1,
  repository: 'local/local/x',
  event: 'push',
  ref: 'refs/heads/main',
  sha: 'a'.repeat(40),
  message: '',
  author: '',
  state,
  createdAt: '2026-01-01T00:00:00.000Z',
  jobs: [{ id: 'test', name: 'test', needs: [], state, attempt: 1, steps }],
  version: 1,
  source: { kind: 'push', repository: 'local/local/x', ref: '', message: '', author: '', receivedAt: '' },
  control: {},
});

function screenOf(isTTY: boolean, env: NodeJS.ProcessEnv = {}) {
  let text = '';
  const write = (more: string, taken: () => void): void => {
    text += more;
    taken();
  };
  return { screen: createScreen({ isTTY, columns: 60, write }, env), text: () => text };
}

/** A reader that takes what was written only when told to. */
function slowScreen(isTTY: boolean) {
  const writes: string[] = [];
  const waiting: (() => void)[] = [];
  const write = (more: string, taken: () => void): void => {
    writes.push(more);
    waiting.push(taken);
  };
  return {
    screen: createScreen({ isTTY, columns: 60, write }, { TERM: 'xterm' }),
    writes,
    take: () => waiting.shift()?.(),
  };
}

const key = { run: 'r', job: 'test', attempt: 1, part: '0' };

/** With a log store, as in a run: what is shown was stored before. */
async function viewOf(screen: Screen) {
  const logs = createLogStore(await temporaryFolder());
  onTestFinished(() => logs.dispose());
  const view = createRunView(screen, logs);
  const output = async (of: LogKey, bytes: Buffer | string): Promise<void> => {
    const at = await logs.length(of);
    await logs.append(of, at, Buffer.from(bytes));
    view.output(of, at + bytes.length);
  };
  return { view, output };
}

describe('off a terminal', () => {
  it('is plain lines: what began, every line of output whole, what ended', async () => {
    const { screen, text } = screenOf(false);
    const { view, output } = await viewOf(screen);
    const startedAt = '2026-01-01T00:00:00.000Z';
    view.change(record([{ name: 'build', state: 'pending' }]));
    view.change(record([{ name: 'build', state: 'running', startedAt }]));
    await output(key, 'one\ntw');
    await output(key, Buffer.from([0x6f, 0x0a, 0xc3]));
    await output(key, Buffer.from([0xa9]));
    view.outputEnd(key);
    const ended: Step = { name: 'build', state: 'failed', exitCode: 3, startedAt, endedAt: '2026-01-01T00:01:30.400Z' };
    view.change(record([ended], 'failed'));
    await view.end();
    expect(text()).toBe(
      '● test › build running\n' +
        'test › build │ one\ntest › build │ two\ntest › build │ é\n' +
        '✖ test › build failed (exit code 3, 1m30s)\n✖ test failed\n',
    );
  });

  it('shows output after the news that its step runs, though it came before', async () => {
    const { screen, text } = screenOf(false);
    const { view, output } = await viewOf(screen);
    view.change(
      record([
        { name: 'one', state: 'running' },
        { name: 'two', state: 'pending' },
      ]),
    );
    await output({ ...key, part: '1' }, 'early\n');
    view.change(
      record([
        { name: 'one', state: 'succeeded' },
        { name: 'two', state: 'pending' },
      ]),
    );
    view.change(
      record([
        { name: 'one', state: 'succeeded' },
        { name: 'two', state: 'running' },
      ]),
    );
    await output({ ...key, part: '1' }, 'late\n');
    await view.end();
    expect(text()).toBe(
      '● test › one running\n✔ test › one succeeded\n● test › two running\ntest › two │ early\ntest › two │ late\n',
    );
  });

  it('shows a line that never ends in pieces', async () => {
    const { screen, text } = screenOf(false);
    const { view, output } = await viewOf(screen);
    view.change(record([{ name: 'build', state: 'running' }]));
    for (let times = 0; times < 10; times++) await output(key, Buffer.alloc(10_000, 'x'));
    view.outputEnd(key);
    await view.end();
    expect(text().replaceAll(/[^x]/g, '')).toHaveLength(100_000);
  });
});

describe('on a terminal', () => {
  it('redraws what runs below what scrolls, within its width, and takes it away at the end', async () => {
    const { screen, text } = screenOf(true, { TERM: 'xterm' });
    const { view, output } = await viewOf(screen);
    view.change(record([{ name: 'b'.repeat(200), state: 'running' }]));
    await output(key, 'line\n');
    await view.end();
    expect(text()).toContain('\u001b[1A\r\u001b[J');
    expect(text().endsWith('\u001b[1A\r\u001b[J')).toBe(true);
    const rows = text()
      .split('\n')
      .filter((line) => line.includes('…'));
    expect(rows.length).toBeGreaterThan(0);
    for (const row of rows)
      expect(
        row
          .split('\u001b')
          .at(-1)
          ?.replace(/^\[\d*[A-Jm]/, '').length,
      ).toBeLessThan(60);
  });

  it.each([{ NO_COLOR: '1', TERM: 'xterm' }, { TERM: 'dumb' }])('has no colour with %j', (env) => {
    const { screen } = screenOf(true, env);
    expect(screen.paint('x', 'red')).toBe('x');
  });
});

describe('a reader that is slower than the output', () => {
  it('is given one write of many lines at a time, and all of it in the end, before what came after', async () => {
    const { screen, writes, take } = slowScreen(false);
    const { view, output } = await viewOf(screen);
    view.change(record([{ name: 'build', state: 'running' }]));
    const numbers = Array.from({ length: 30_000 }, (_, index) => String(index));
    for (let from = 0; from < numbers.length; from += 1000)
      await output(key, `${numbers.slice(from, from + 1000).join('\n')}\n`);
    view.outputEnd(key);
    view.change(record([{ name: 'build', state: 'succeeded' }], 'succeeded'));
    expect(writes).toEqual(['● test › build running\n']);
    let all = false;
    const ended = view.end().then(() => (all = true));
    let taken = 0;
    for (; !all; taken++) {
      await expect.poll(() => all || writes.length > taken).toBe(true);
      expect(writes.length).toBeLessThanOrEqual(taken + 1);
      take();
    }
    await ended;
    expect(writes.length).toBeLessThan(10);
    const shown = writes.join('').split('\n');
    expect(shown.slice(1, -3)).toEqual(numbers.map((number) => `test › build │ ${number}`));
    expect(shown.slice(-3)).toEqual(['✔ test › build succeeded', '✔ test succeeded', '']);
  });

  it('finds on a terminal the newest block, and none between', () => {
    const { screen, writes, take } = slowScreen(true);
    void screen.lines(['line']);
    for (const row of ['one', 'two', 'three']) screen.block([row]);
    expect(writes).toEqual(['line\n']);
    take();
    expect(writes).toEqual(['line\n', 'three\n']);
    void screen.lines(['next', 'after']);
    screen.block([]);
    take();
    take();
    expect(writes.slice(2)).toEqual(['\u001b[1A\r\u001b[Jnext\nafter\nthree\n', '\u001b[1A\r\u001b[J']);
  });

  it('that is gone is given no more of the log', async () => {
    const written: string[] = [];
    const screen = createScreen({
      write: (text, taken) => {
        written.push(text);
        taken(written.length > 2 ? new Error('EPIPE') : undefined);
      },
    });
    const { view, output } = await viewOf(screen);
    view.change(record([{ name: 'build', state: 'running' }]));
    for (let times = 0; times < 10; times++) await output(key, 'x\n'.repeat(50_000));
    await view.end();
    expect(written).toHaveLength(3);
  });
});

describe('a line of output', () => {
  it.each([
    ['10 %\r50 %\r100 %\r', '100 %'],
    ['\u001b[31mred\u001b[0m', '\u001b[31mred\u001b[0m\u001b[0m'],
    ['\u001b[2J\u001b[Hgone\u0007', 'gone'],
    ['\u001b]0;title\u0007text', 'text'],
    ['a\u009b31mb\u0000c\ttab', 'a31mbc\ttab'],
  ])('%j is shown as %j', (line, shown) => {
    expect(showableLine(line)).toBe(shown);
  });

  it('never moves the cursor, rings or renames the window', () => {
    const nasty = fc.string({
      unit: fc.constantFrom('\u001b', '[', ']', '2', 'J', 'm', ';', '\u0007', '\r', '\u009b', 'x', '0'),
    });
    fc.assert(
      fc.property(nasty, (line) => {
        // Nothing but text, tabs and colours is left.
        const rest = showableLine(line)
          .split(/\u001b\[[\d;]*m/)
          .join('');
        expect(rest).toMatch(/^[\t -~]*$/);
      }),
    );
  });
});
