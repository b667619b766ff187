import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRunView } from '../../src/cli/local/run-view.ts';
import { createScreen, showableLine } from '../../src/cli/local/screen.ts';
import type { RunRecord, Step } from '../../src/runs/run.ts';

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
  const stream = { isTTY, columns: 60, write: (more: string) => (text += more) };
  return { screen: createScreen(stream, env), text: () => text };
}

const key = { run: 'r', job: 'test', attempt: 1, part: '0' };

describe('off a terminal', () => {
  it('is plain lines: what began, every line of output whole, what ended', () => {
    const { screen, text } = screenOf(false);
    const view = createRunView(screen);
    const startedAt = '2026-01-01T00:00:00.000Z';
    view.change(record([{ name: 'build', state: 'pending' }]));
    view.change(record([{ name: 'build', state: 'running', startedAt }]));
    view.output(key, Buffer.from('one\ntw'));
    view.output(key, Buffer.from([0x6f, 0x0a, 0xc3]));
    view.output(key, Buffer.from([0xa9]));
    view.outputEnd(key);
    const ended: Step = { name: 'build', state: 'failed', exitCode: 3, startedAt, endedAt: '2026-01-01T00:01:30.400Z' };
    view.change(record([ended], 'failed'));
    view.end();
    expect(text()).toBe(
      '● test › build running\n' +
        'test › build │ one\ntest › build │ two\ntest › build │ é\n' +
        '✖ test › build failed (exit code 3, 1m30s)\n✖ test failed\n',
    );
  });

  it('shows output after the news that its step runs, though it came before', () => {
    const { screen, text } = screenOf(false);
    const view = createRunView(screen);
    view.change(
      record([
        { name: 'one', state: 'running' },
        { name: 'two', state: 'pending' },
      ]),
    );
    view.output({ ...key, part: '1' }, Buffer.from('early\n'));
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
    view.output({ ...key, part: '1' }, Buffer.from('late\n'));
    view.end();
    expect(text()).toBe(
      '● test › one running\n✔ test › one succeeded\n● test › two running\ntest › two │ early\ntest › two │ late\n',
    );
  });

  it('shows a line that never ends in pieces', () => {
    const { screen, text } = screenOf(false);
    const view = createRunView(screen);
    view.change(record([{ name: 'build', state: 'running' }]));
    for (let times = 0; times < 10; times++) view.output(key, Buffer.alloc(10_000, 'x'));
    view.outputEnd(key);
    view.end();
    expect(text().replaceAll(/[^x]/g, '')).toHaveLength(100_000);
  });
});

describe('on a terminal', () => {
  it('redraws what runs below what scrolls, within its width, and takes it away at the end', () => {
    const { screen, text } = screenOf(true, { TERM: 'xterm' });
    const view = createRunView(screen);
    view.change(record([{ name: 'b'.repeat(200), state: 'running' }]));
    view.output(key, Buffer.from('line\n'));
    view.end();
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
